package page

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What is measured stands between these lines of a document.
const (
	begin = "<!-- begin of what make failover-report writes -->\n"
	end   = "<!-- end of what make failover-report writes -->\n"
)

// Measured is what make failover-report wrote into a document, false if the document has no place for it.
func Measured(document string) (string, bool) {
	_, rest, found := strings.Cut(document, begin)
	measured, _, foundEnd := strings.Cut(rest, end)
	return measured, found && foundEnd
}

// Replace writes what is measured into its place in a document. It fails if there is none.
func Replace(document, measured string) (string, error) {
	before, rest, found := strings.Cut(document, begin)
	_, after, foundEnd := strings.Cut(rest, end)
	if !found || !foundEnd {
		return "", errors.New("the lines that the results stand between are missing")
	}
	return before + begin + measured + end + after, nil
}

// line is one line of the README's table: rows of the matrix that are one kind of failure to a reader.
type line struct {
	what string
	rows []string
	// took is what took the time.
	took string
	// own tells of the application's own election where its failed requests do not tell it.
	own string
	// compared are those of the rows in which it was compared, if not in all.
	compared string
}

func summarised() []line {
	return []line{
		{what: "deleted, evicted, drained, rolled", rows: []string{"1-leader-deleted", "1-leader-evicted", "1-node-drained", "3-deployment-rollout", "3-statefulset-rollout"}, compared: "deleted"},
		{what: "it stopped listening", rows: []string{"2-leader-stops-listening"}, took: "three failures of a readiness probe a second", own: "never came back"},
		{what: "its process crashed, was killed, or ran out of memory", rows: []string{"2-leader-crashes", "2-leader-killed", "2-leader-out-of-memory"}, took: "the kubelet, then kube-proxy", compared: "crashed, killed"},
		{what: "its node lost power", rows: []string{"6-node-powered-off"}, took: "Kubernetes gives a silent node up after 50 s"},
		{what: "the active controller was killed, then the leader deleted", rows: []string{"7-controller-killed"}, took: "the controllers' Lease (6 s) must run out", own: "has no controller"},
		{what: "its kubelet hung; its node was cut off from the API server", rows: []string{"6-kubelet-hung", "6-node-cut-off-from-api-server"}, took: "the pod serves on until Kubernetes gives it up"},
		{what: "the API server was killed, away for a minute, or slow; etcd paused",
			rows: []string{"8-api-server-restarted", "8-api-server-unreachable-for-a-minute", "8-api-server-slow", "8-etcd-paused"}, took: "routing goes on"},
		{what: "zen-lead upgraded, rolled back, uninstalled, reinstalled", rows: []string{"9-chart-upgraded-from-the-same-chart-as-0.0.9"}, took: "the leader stays", own: "has no controller"},
	}
}

// The columns of Table.
const (
	columnFailed  = 1
	columnGap     = 2
	columnElected = 6
	columns       = 8
)

// Summary is the table of the README, made from a page that Table was written to, so that both say the same. It fails if
// the page lacks a row.
func Summary(document string) (string, error) {
	measured := map[string][]string{}
	for text := range strings.Lines(document) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(text), "|"), "|"); len(cells) == columns {
			measured[strings.TrimSpace(cells[0])] = cells
		}
	}
	var b strings.Builder
	b.WriteString("| what happened to the leader | failed requests | longest gap | what took the time | an election of the application's own |\n|---|--:|--:|---|---|\n")
	for _, l := range summarised() {
		failed, err := valuesOf(measured, l.rows, columnFailed, count)
		if err != nil {
			return "", err
		}
		gaps, err := valuesOf(measured, l.rows, columnGap, seconds)
		if err != nil {
			return "", err
		}
		if len(failed) == 0 || len(gaps) == 0 {
			return "", fmt.Errorf("failed to find what a client saw of rows %s", strings.Join(l.rows, ", "))
		}
		elected, err := valuesOf(measured, l.rows, columnElected, count)
		if err != nil {
			return "", err
		}
		own := l.own
		switch {
		case own == "" && len(elected) == 0:
			own = "not measured"
		case own == "":
			own = spread(elected, thousandsOf) + " failed"
			if l.compared != "" {
				own += " (" + l.compared + ")"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s s | %s | %s |\n", l.what, spread(failed, thousandsOf), spread(gaps, secondsOf), l.took, own)
	}
	return b.String(), nil
}

// valuesOf is what a column says of all runs of these rows; "-" says nothing.
func valuesOf(measured map[string][]string, rows []string, column int, parse func(string) (float64, error)) ([]float64, error) {
	var values []float64
	for _, row := range rows {
		cells, found := measured[row]
		if !found {
			return nil, fmt.Errorf("failed to find row %s", row)
		}
		for cell := range strings.SplitSeq(cells[column], ",") {
			if cell = strings.TrimSpace(cell); cell == "-" {
				continue
			}
			value, err := parse(cell)
			if err != nil {
				return nil, fmt.Errorf("failed to read %q of row %s: %w", cell, row, err)
			}
			values = append(values, value)
		}
	}
	return values, nil
}

// spread says the least and the most of several values.
func spread(values []float64, say func(float64) string) string {
	least, most := say(slices.Min(values)), say(slices.Max(values))
	if least == most {
		return least
	}
	return least + " to " + most
}

// count reads the failed requests of "3 of 1000".
func count(cell string) (float64, error) {
	failed, _, _ := strings.Cut(cell, " ")
	return strconv.ParseFloat(failed, 64)
}

// seconds reads "301 ms", "2.4 s" or, of a client that was never answered again, "over 2.4 s".
func seconds(cell string) (float64, error) {
	d, err := time.ParseDuration(strings.ReplaceAll(strings.TrimPrefix(cell, "over "), " ", ""))
	return d.Seconds(), err
}

func thousandsOf(n float64) string { return thousands(int(n)) }

func secondsOf(s float64) string {
	if s >= 10 {
		return strconv.FormatFloat(s, 'f', 0, 64)
	}
	return strconv.FormatFloat(s, 'f', 1, 64)
}
