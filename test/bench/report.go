package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what a run found, for people as a table and for programs as JSON.
type report struct {
	Time     time.Time         `json:"time"`
	Machine  string            `json:"machine"`
	Settings map[string]string `json:"settings"`
	Quick    bool              `json:"quick"`
	Rows     []rowRun          `json:"rows"`
	Checks   []check           `json:"checks"`
	Series   []series          `json:"series"`
	Numbers  []number          `json:"numbers"`
}

// rowRun says how long a row took and how busy the machine was, by its load averages.
type rowRun struct {
	Row        string  `json:"row"`
	Seconds    float64 `json:"seconds"`
	LoadBefore string  `json:"loadBefore"`
	LoadAfter  string  `json:"loadAfter"`
	// Failed is why the row broke off, empty if it did not.
	Failed string `json:"failed,omitempty"`
}

// check is a bar, and whether it was reached.
type check struct {
	Row     string `json:"row"`
	Measure string `json:"measure"`
	Bar     string `json:"bar"`
	Got     string `json:"got"`
	Reached bool   `json:"reached"`
}

// series sums up many samples of one thing, in milliseconds.
type series struct {
	Row   string  `json:"row"`
	Name  string  `json:"name"`
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// number is a thing that was measured once.
type number struct {
	Row   string  `json:"row"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func newReport(o options) *report {
	fsync := "off (a write costs less than in production, and what is not the write weighs more)"
	if o.fsync {
		fsync = "on"
	}
	return &report{
		Time:    time.Now().UTC(),
		Machine: fmt.Sprintf("%s, %d CPUs shared by everything, %s", cpuModel(), runtime.NumCPU(), runtime.GOOS+"/"+runtime.GOARCH),
		Quick:   o.quick,
		Rows:    []rowRun{}, Checks: []check{}, Series: []series{}, Numbers: []number{},
		Settings: map[string]string{
			"etcd fsync":               fsync,
			"API server":               "defaults: priority and fairness on, 400 reads and 200 writes in flight; zen-lead and the bare loop at the priority of service accounts; audit log of metadata for the contenders alike",
			"EndpointSlice controller": fmt.Sprintf("alone in kube-controller-manager, %s workers (default), client limit raised from 20/30 to %s/%s", managerWorkers, managerQPS, managerBurst),
			"bare loop":                fmt.Sprintf("protobuf, %d writes in flight, no precondition", bareInFlight),
			"zen-lead":                 "default flags",
		},
	}
}

// check notes a bar and prints it at once.
func (b *bench) check(reached bool, measure, bar, got string, args ...any) {
	c := check{Row: b.row, Measure: measure, Bar: bar, Got: fmt.Sprintf(got, args...), Reached: reached}
	b.report.Checks = append(b.report.Checks, c)
	b.say("%s: %s (bar: %s) -> %s", c.Measure, c.Got, c.Bar, c.verdict())
}

func (c check) verdict() string {
	if c.Reached {
		return "reached"
	}
	return "NOT REACHED"
}

// samples notes a series of durations.
func (b *bench) samples(name string, durations []time.Duration) series {
	s := summarise(durations)
	s.Row, s.Name = b.row, name
	b.report.Series = append(b.report.Series, s)
	b.say("%s: p50 %.2f ms, p90 %.2f, p99 %.2f, max %.2f (n=%d)", name, s.P50, s.P90, s.P99, s.Max, s.Count)
	return s
}

func (b *bench) number(name string, value float64, unit string) {
	b.report.Numbers = append(b.report.Numbers, number{Row: b.row, Name: name, Value: value, Unit: unit})
	b.say("%s: %.4g %s", name, value, unit)
}

func summarise(durations []time.Duration) series {
	if len(durations) == 0 {
		return series{}
	}
	sorted := slices.Sorted(slices.Values(durations))
	at := func(quantile float64) float64 {
		i := int(quantile * float64(len(sorted)))
		return milliseconds(sorted[min(i, len(sorted)-1)])
	}
	return series{Count: len(sorted), P50: at(.5), P90: at(.9), P99: at(.99), Max: milliseconds(sorted[len(sorted)-1])}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (r *report) print(out io.Writer) {
	_, _ = fmt.Fprintf(out, "\n%s\n%s\n", r.Time.Format(time.RFC3339), r.Machine)
	for _, name := range slices.Sorted(mapKeys(r.Settings)) {
		_, _ = fmt.Fprintf(out, "%s: %s\n", name, r.Settings[name])
	}
	for _, row := range r.Rows {
		_, _ = fmt.Fprintf(out, "load averages around %s (%.0f s): %s, %s\n", row.Row, row.Seconds, row.LoadBefore, row.LoadAfter)
	}
	if r.Quick {
		_, _ = fmt.Fprintln(out, "a quick run: small sizes, few samples; the bars are meant for full ones")
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nROW\tSERIES\tN\tP50 ms\tP90 ms\tP99 ms\tMAX ms")
	for _, s := range r.Series {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\n", s.Row, s.Name, s.Count, s.P50, s.P90, s.P99, s.Max)
	}
	_, _ = fmt.Fprintln(table, "\nROW\tNUMBER\tVALUE")
	for _, n := range r.Numbers {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%.4g %s\n", n.Row, n.Name, n.Value, n.Unit)
	}
	_, _ = fmt.Fprintln(table, "\nROW\tMEASURE\tBAR\tGOT\t")
	for _, c := range r.Checks {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", c.Row, c.Measure, c.Bar, c.Got, c.verdict())
	}
	_ = table.Flush()
}

// save writes the JSON under a name of its own, so that runs can be compared.
func (r *report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("failed to create %s: %w", dir, err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("failed to encode the results: %w", err)
	}
	path := filepath.Join(dir, r.Time.Format("20060102-150405")+".json")
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("failed to write %s: %w", path, err)
	}
	fmt.Println("results:", path)
	return nil
}

func mapKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

func cpuModel() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}
