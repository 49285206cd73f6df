package monitoring

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/kube-zen/zen-lead/test/integration/harness"
	"github.com/kube-zen/zen-lead/test/monitoring/picture"
)

// controllerNamespace is where the controller would be installed: not where the Services are.
const controllerNamespace = "zen-lead-system"

// server is a Prometheus of the test's own.
type server struct {
	world   *harness.World
	address string
}

// startPrometheus scrapes processes every second, with the labels that a ServiceMonitor gives to its targets.
func startPrometheus(w *harness.World, processes map[string]*harness.Process) *server {
	w.Helper()
	dir := w.TempDir()
	t := w.TB.(*testing.T)
	var targets []any
	for pod, process := range processes {
		targets = append(targets, map[string]any{"targets": []string{process.MetricsAddress}, "labels": map[string]string{
			"job": "zen-lead-metrics", "namespace": controllerNamespace, "service": "zen-lead-metrics", "pod": pod,
			"container": "zen-lead", "endpoint": "http-metrics",
		}})
	}
	config, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{writeRules(t, dir, alerts(t))},
		"scrape_configs": []any{map[string]any{
			"job_name": "zen-lead-metrics", "honor_labels": true, "static_configs": targets,
		}},
	})
	require.NoError(w, err)
	file := filepath.Join(dir, "prometheus.yaml")
	require.NoError(w, os.WriteFile(file, config, 0o600))
	s := &server{world: w, address: w.FreeAddress()}
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(w, err)
	command := exec.Command(tool(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+s.address, "--log.level=warn")
	command.Stdout, command.Stderr = log, log
	require.NoError(w, command.Start())
	w.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
	})
	w.Eventually("Prometheus to have scraped every process twice", func() error {
		series, err := s.query("count_over_time(up[1m]) >= 2 and up == 1")
		if err == nil && len(series) < len(processes) {
			text, _ := os.ReadFile(log.Name())
			err = fmt.Errorf("%d of %d:\n%s", len(series), len(processes), text)
		}
		return err
	})
	return s
}

// get asks the API of Prometheus and decodes the data of its answer.
func (s *server) get(path string, parameters url.Values, data any) error {
	response, err := http.Get("http://" + s.address + "/api/v1/" + path + "?" + parameters.Encode())
	if err != nil {
		return fmt.Errorf("failed to ask Prometheus: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("failed to read Prometheus' answer: %w", err)
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("failed to get %s?%s: %s %s", path, parameters.Encode(), answer.Error, body)
	}
	return nil
}

type result struct {
	Metric map[string]string
	Value  [2]any
	Values [][2]any
}

func number(pair [2]any) float64 {
	text, _ := pair[1].(string)
	value, _ := strconv.ParseFloat(text, 64)
	return value
}

// query is the result of an instant query, in the form in which pictures are drawn.
func (s *server) query(expr string) ([]picture.Series, error) {
	return s.ask("query", url.Values{"query": {expr}})
}

// queryRange is the result of a query over the time since start.
func (s *server) queryRange(expr string, start time.Time) ([]picture.Series, error) {
	now := time.Now()
	return s.ask("query_range", url.Values{"query": {expr}, "step": {"1"},
		"start": {strconv.FormatInt(start.Unix(), 10)}, "end": {strconv.FormatInt(now.Unix(), 10)}})
}

func (s *server) ask(path string, parameters url.Values) ([]picture.Series, error) {
	var data struct {
		ResultType string
		Result     []result
	}
	if err := s.get(path, parameters, &data); err != nil {
		return nil, err
	}
	var series []picture.Series
	for _, r := range data.Result {
		one := picture.Series{Labels: r.Metric}
		if data.ResultType == "vector" {
			r.Values = append(r.Values, r.Value)
		}
		for _, pair := range r.Values {
			at, _ := pair[0].(float64)
			one.Points = append(one.Points, picture.Point{At: at, Value: number(pair)})
		}
		series = append(series, one)
	}
	return series, nil
}

// labelValues answers a variable of the dashboard: label_values(SELECTOR, LABEL).
func (s *server) labelValues(definition string) ([]string, error) {
	inner := strings.TrimSuffix(strings.TrimPrefix(definition, "label_values("), ")")
	cut := strings.LastIndex(inner, ",")
	if cut < 0 {
		return nil, fmt.Errorf("%q is no label_values(SELECTOR, LABEL)", definition)
	}
	var values []string
	err := s.get("label/"+strings.TrimSpace(inner[cut+1:])+"/values", url.Values{"match[]": {inner[:cut]}}, &values)
	return values, err
}
