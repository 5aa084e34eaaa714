// Reads a list of objects from its input into the Prometheus operator's own types, and prints what these make of it. A
// field that they do not know is an error, and so is a kind.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	strict "sigs.k8s.io/json"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var objects []json.RawMessage
	if err := json.Unmarshal(text, &objects); err != nil {
		return err
	}
	typed := make([]any, len(objects))
	for i, object := range objects {
		if typed[i], err = read(object); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(typed)
}

func read(object []byte) (any, error) {
	var of metav1.TypeMeta
	if err := json.Unmarshal(object, &of); err != nil {
		return nil, err
	}
	into := map[string]any{
		v1.ServiceMonitorsKind: new(v1.ServiceMonitor),
		v1.PrometheusRuleKind:  new(v1.PrometheusRule),
	}[of.Kind]
	if into == nil || of.APIVersion != v1.SchemeGroupVersion.String() {
		return nil, fmt.Errorf("not a kind of the Prometheus operator: %s %s", of.APIVersion, of.Kind)
	}
	unknown, err := strict.UnmarshalStrict(object, into)
	if err := errors.Join(append(unknown, err)...); err != nil {
		return nil, fmt.Errorf("%s: %w", of.Kind, err)
	}
	return into, nil
}
