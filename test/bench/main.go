// Command bench measures zen-lead on a bare control plane, against two others in the same run: Kubernetes' own
// EndpointSlice controller, and the physical limit, which is a loop that answers a pod's event with one precomputed
// write. What counts are the ratios; the machine is noisy.
//
// Pods have no kubelet: what a kubelet would write is written by the benchmark. The controller is the real binary, as a
// process of its own with its default flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	assets string
	binary string
	out    string
	rows   []string
	quick  bool
	fsync  bool
	keep   bool
}

// row is one part of the benchmark, which brings its own control plane.
type row struct {
	name string
	does string
	run  func(ctx context.Context, b *bench) error
}

func rows() []row {
	return []row{
		{"serial", "one failover after the other: 20 Services x 3 pods", runSerial},
		{"storm", "500 of 1,000 leaders fail in one instant", runStorm},
		{"rollout", "first roll-out to 5,000 Services, and a start with all of them routed", runRollout},
		{"memory", "resident memory at 1,000 Services and 3,000 pods", runMemory},
		{"memory-large", "resident memory at 5,000 Services, 50,000 pods, 10,000 plain Services", runMemoryLarge},
		{"churn", "1,000 pod events a second that concern nobody", runChurn},
		{"namespace", "one namespace with 2,500 Services", runNamespace},
		{"replica", "a controller replica is killed, or ended politely", runReplica},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "bare" {
		return runBare(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "page" {
		return runPage(args[1:])
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	b := &bench{options: o, report: newReport(o)}
	var failed error
	for _, r := range rows() {
		if len(o.rows) > 0 && !slices.Contains(o.rows, r.name) {
			continue
		}
		b.row = r.name
		b.say("%s", r.does)
		begun := time.Now()
		load := loadAverage()
		err := b.withPlane(ctx, r.run)
		run := rowRun{Row: r.name, Seconds: time.Since(begun).Seconds(), LoadBefore: load, LoadAfter: loadAverage()}
		if err != nil {
			run.Failed = err.Error()
			failed = errors.Join(failed, fmt.Errorf("row %s: %w", r.name, err))
		}
		b.report.Rows = append(b.report.Rows, run)
		if ctx.Err() != nil {
			break
		}
	}
	b.report.print(os.Stdout)
	return errors.Join(failed, b.report.save(o.out))
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.assets, "assets", os.Getenv("KUBEBUILDER_ASSETS"), "`directory` with kube-apiserver, etcd and kube-controller-manager")
	flags.StringVar(&o.binary, "binary", "bin/zen-lead", "`path` of the controller's binary")
	flags.StringVar(&o.out, "out", filepath.Join(".cluster", "bench"), "`directory` for the results")
	flags.BoolVar(&o.quick, "quick", false, "a fraction of the samples and sizes, to see that everything works")
	flags.BoolVar(&o.fsync, "fsync", false, "let etcd wait for the disk, as in production; without, writes are faster and overheads weigh more")
	flags.BoolVar(&o.keep, "keep", false, "keep the logs of all processes")
	flags.Func("row", "comma-separated `rows` to run (default: all)", func(value string) error {
		o.rows = strings.Split(value, ",")
		return nil
	})
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "bench measures zen-lead on a bare control plane.\n\nFlags:")
		flags.PrintDefaults()
		fmt.Fprintln(flags.Output(), "\nRows:")
		for _, r := range rows() {
			fmt.Fprintf(flags.Output(), "  %-13s %s\n", r.name, r.does)
		}
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.assets == "" {
		return o, errors.New("KUBEBUILDER_ASSETS is not set: run `make bench`, or export KUBEBUILDER_ASSETS=$(ci/envtest.sh)")
	}
	if _, err := os.Stat(o.binary); err != nil {
		return o, fmt.Errorf("no controller at %s: run `make build`", o.binary)
	}
	for _, name := range o.rows {
		if !slices.ContainsFunc(rows(), func(r row) bool { return r.name == name }) {
			return o, fmt.Errorf("there is no row %q: see -help", name)
		}
	}
	return o, nil
}

// bench is one run.
type bench struct {
	options options
	report  *report
	row     string
	plane   *plane
}

func (b *bench) withPlane(ctx context.Context, run func(context.Context, *bench) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	if b.plane, err = startPlane(ctx, b.options); err != nil {
		return err
	}
	err = run(ctx, b)
	cancel()
	return errors.Join(err, b.plane.stop())
}

// say shows progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %-12s %s\n", time.Now().Format(time.TimeOnly), b.row, fmt.Sprintf(format, args...))
}

// size is a number of samples or objects, or its small form in a quick run.
func (b *bench) size(full, quick int) int {
	if b.options.quick {
		return quick
	}
	return full
}
