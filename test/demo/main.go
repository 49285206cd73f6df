// Command demo shows zen-lead on a running cluster: it installs the chart, annotates a Service, sends requests to its
// leader Service from another node, deletes the leader and tells what became of the requests.
//
// It leaves everything in place. It uses the cluster of $KUBECONFIG, and helm and kubectl from $PATH, as its reader would.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are what can be chosen.
type options struct {
	image, agnhostImage, trafficImage string
	// imageID changes with the content of the controller's image, whose tag does not while it is developed.
	imageID  string
	work     string
	steady   time.Duration
	traffic  time.Duration
	interval time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "demo:", err)
		return 2
	}
	d := &demo{options: o, screen: newScreen(os.Stdout)}
	err = d.run(ctx)
	if ctx.Err() != nil {
		d.screen.printf("\nInterrupted. The cluster is left as it is: `make demo` goes on with it, `%s` removes what was made.\n", down())
		return 130
	}
	if err != nil {
		d.screen.printf("\n%s %s\n", d.screen.paint(red, "Failed:"), err)
		d.gatherEvidence()
		return 1
	}
	return 0
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.image, "image", "", "image of the controller, if not the chart's own: REPOSITORY:TAG or REPOSITORY@DIGEST")
	flags.StringVar(&o.imageID, "image-id", "", "any word that changes with the content of the controller's image")
	flags.StringVar(&o.agnhostImage, "agnhost-image", "", "image of the application: Kubernetes' test image agnhost")
	flags.StringVar(&o.trafficImage, "traffic-image", "zen-lead.io/traffic:dev", "image of the traffic client")
	flags.StringVar(&o.work, "work", ".cluster", "folder for generated files and for the evidence of a failure")
	flags.DurationVar(&o.steady, "steady", 5*time.Second, "how long to send requests before the leader is deleted")
	flags.DurationVar(&o.traffic, "traffic", 18*time.Second, "how long to send requests in all")
	flags.DurationVar(&o.interval, "interval", 5*time.Millisecond, "time between two requests of a client")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.agnhostImage == "" || o.trafficImage == "":
		return o, errors.New("--agnhost-image and --traffic-image must not be empty")
	case o.traffic < o.steady+5*time.Second || o.steady <= 0:
		return o, errors.New("--steady must be positive and --traffic at least 5s more")
	}
	if o.image != "" {
		if _, err := splitImage(o.image); err != nil {
			return o, err
		}
	}
	return o, nil
}
