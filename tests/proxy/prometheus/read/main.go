// Reads an exposition from its input as Prometheus does, and prints what it saw: one JSON object for each series and
// each family. The first argument is the content type; `start` as the second one also asks for start timestamps, as
// Prometheus does when it stores them.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// Seen is a sample (with Series) or what is said about a family (with Family).
type Seen struct {
	Series string            `json:"series,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// Bits of the value, in hexadecimal: JSON knows no NaN.
	Bits string `json:"bits,omitempty"`
	// Milliseconds since 1970.
	Time *int64 `json:"time,omitempty"`
	// Milliseconds since 1970, 0 if there is none.
	Start  int64  `json:"start,omitempty"`
	Family string `json:"family,omitempty"`
	Type   string `json:"type,omitempty"`
	Help   string `json:"help,omitempty"`
}

func main() {
	if err := run(os.Args[1], len(os.Args) > 2 && os.Args[2] == "start"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(contentType string, start bool) error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	options := textparse.ParserOptions{OpenMetricsSkipSTSeries: start}
	parser, err := textparse.New(text, contentType, labels.NewSymbolTable(), options)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(os.Stdout)
	out := json.NewEncoder(buffered)
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return buffered.Flush()
		}
		if err != nil {
			return err
		}
		var seen Seen
		switch entry {
		case textparse.EntrySeries:
			seen = series(parser, start)
		case textparse.EntryType:
			name, kind := parser.Type()
			seen = Seen{Family: string(name), Type: string(kind)}
		case textparse.EntryHelp:
			name, help := parser.Help()
			seen = Seen{Family: string(name), Help: string(help)}
		default:
			continue
		}
		if err := out.Encode(seen); err != nil {
			return err
		}
	}
}

func series(parser textparse.Parser, start bool) Seen {
	_, time, value := parser.Series()
	var set labels.Labels
	parser.Labels(&set)
	all := set.Map()
	name := all[labels.MetricName]
	delete(all, labels.MetricName)
	seen := Seen{Series: name, Labels: all, Bits: fmt.Sprintf("%x", math.Float64bits(value)), Time: time}
	if start {
		seen.Start = parser.StartTimestamp()
	}
	return seen
}
