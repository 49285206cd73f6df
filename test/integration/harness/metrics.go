package harness

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Labels select the series whose labels contain these.
type Labels map[string]string

// Metrics is one scrape.
type Metrics map[string]*dto.MetricFamily

// Scrape reads a metrics endpoint.
func Scrape(address string) (Metrics, error) {
	body, err := fetch("http://" + address + "/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("failed to parse metrics of %s: %w", address, err)
	}
	return families, nil
}

// fetch returns the body of a 200 answer, and an error for any other.
func fetch(url string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return "", fmt.Errorf("failed to get %s: %w", url, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("failed to read %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("failed to get %s: %s: %s", url, response.Status, body)
	}
	return string(body), nil
}

// Series are the series of a metric that have the labels.
func (m Metrics) Series(name string, labels Labels) []*dto.Metric {
	family, ok := m[name]
	if !ok {
		return nil
	}
	var series []*dto.Metric
	for _, metric := range family.GetMetric() {
		if hasLabels(metric, labels) {
			series = append(series, metric)
		}
	}
	return series
}

// Sum adds up the series of a metric that have the labels: values, or counts of observations.
func (m Metrics) Sum(name string, labels Labels) float64 {
	var sum float64
	for _, metric := range m.Series(name, labels) {
		switch {
		case metric.Gauge != nil:
			sum += metric.Gauge.GetValue()
		case metric.Counter != nil:
			sum += metric.Counter.GetValue()
		case metric.Untyped != nil:
			sum += metric.Untyped.GetValue()
		case metric.Histogram != nil:
			sum += float64(metric.Histogram.GetSampleCount())
		}
	}
	return sum
}

// Only is the value of the one series that has the labels.
func (m Metrics) Only(name string, labels Labels) (float64, error) {
	if n := len(m.Series(name, labels)); n != 1 {
		return 0, fmt.Errorf("%s%v has %d series: %v", name, labels, n, m.Series(name, labels))
	}
	return m.Sum(name, labels), nil
}

// Naming lists the series of any metric with our prefix that have the labels.
func (m Metrics) Naming(labels Labels) []string {
	var found []string
	for name := range m {
		if !strings.HasPrefix(name, "zen_lead_") {
			continue
		}
		for _, metric := range m.Series(name, labels) {
			found = append(found, fmt.Sprintf("%s %v", name, metric.GetLabel()))
		}
	}
	return found
}

func hasLabels(metric *dto.Metric, labels Labels) bool {
	matched := 0
	for _, pair := range metric.GetLabel() {
		if value, wanted := labels[pair.GetName()]; wanted && value == pair.GetValue() {
			matched++
		}
	}
	return matched == len(labels)
}
