// Pushes as a program does that uses Prometheus' own Go client. Arguments: the URL; `push`, `add` or `delete`;
// `protobuf`, which is that client's default, or `text`; and the value of the counter.
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/prometheus/common/expfmt"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url, what, format, value string) error {
	number, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return err
	}
	pusher := push.New(url, "go/task").Grouping("task_execution_id", "7").Grouping("pod", "").
		Grouping("task_external_execution_id", "task 7/ü")
	if format == "text" {
		pusher = pusher.Format(expfmt.NewFormat(expfmt.TypeTextPlain))
	}
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "go_pushed_total", Help: "A \"counter\"\\."},
		[]string{"kind"})
	counter.WithLabelValues("a\"b\\c\nd").Add(number)
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "go_pushed_seconds", Help: "Two\nlines.", Buckets: []float64{0.5, 1, 1e6}})
	histogram.Observe(0.7)
	histogram.Observe(7e6)
	summary := prometheus.NewSummary(prometheus.SummaryOpts{
		Name: "go_pushed_bytes", Objectives: map[float64]float64{0.5: 0.05, 0.99: 0.001}})
	summary.Observe(3)
	pusher = pusher.Collector(counter)
	switch what {
	case "push":
		return pusher.Collector(histogram).Collector(summary).Push()
	case "add":
		return pusher.Add()
	case "delete":
		return pusher.Delete()
	}
	return fmt.Errorf("what is %q?", what)
}
