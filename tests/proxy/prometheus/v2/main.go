// Reads an exposition from its input as Prometheus 2 does, and prints what it saw as `../read` does. The argument is the
// content type.
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

// Seen is what `../read` prints.
type Seen struct {
	Series string            `json:"series,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Bits   string            `json:"bits,omitempty"`
	Time   *int64            `json:"time,omitempty"`
	Family string            `json:"family,omitempty"`
	Type   string            `json:"type,omitempty"`
	Help   string            `json:"help,omitempty"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(contentType string) error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	parser, err := textparse.New(text, contentType, false, labels.NewSymbolTable())
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
			seen = series(parser)
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

func series(parser textparse.Parser) Seen {
	_, time, value := parser.Series()
	var set labels.Labels
	parser.Metric(&set)
	all := set.Map()
	name := all[labels.MetricName]
	delete(all, labels.MetricName)
	return Seen{Series: name, Labels: all, Bits: fmt.Sprintf("%x", math.Float64bits(value)), Time: time}
}
