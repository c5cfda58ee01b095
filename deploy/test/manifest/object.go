// Package manifest renders the Kubernetes manifests of deploy/k8s and looks for
// faults that an API server does not see.
//
// # What is promised
//
// [Lint] reports each setting that no service knows or that a service lacks, each
// name that leads to nothing (ports, selectors, ConfigMaps, Secrets, autoscaling
// targets, streams, metrics, runbooks, images), each arrow of the design that the
// network policies do not let through, and each that they let through beside it.
//
// # How
//
// Nothing is listed twice: settings come from the services' own Config structs by
// reflection, the stream from the constants that the services use, metrics from
// docs/operations.md, images from the Dockerfile's services. Only the arrows
// between the parts are written here ([Arrows]), as the design draws them.
//
// # When it breaks
//
// It looks at rendered objects of known kinds. Fields' names and types are the API
// server's business (package kubeapi asks a real one); whether a cluster enforces
// network policies, or a provider's network can be reached, is the cluster's.
package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Object is one rendered manifest.
type Object map[string]any

// Kind is the object's kind, such as Deployment.
func (o Object) Kind() string { return text(o["kind"]) }

// APIVersion is its group and version.
func (o Object) APIVersion() string { return text(o["apiVersion"]) }

// Name is its name.
func (o Object) Name() string { return text(o.at("metadata", "name")) }

// Namespace is its namespace; empty where the kustomization sets none.
func (o Object) Namespace() string { return text(o.at("metadata", "namespace")) }

// String names the object in faults: Deployment/messaging.
func (o Object) String() string { return o.Kind() + "/" + o.Name() }

// at follows keys into the object and returns nil where one is missing.
func (o Object) at(path ...string) any { return at(map[string]any(o), path...) }

func at(value any, path ...string) any {
	for _, key := range path {
		value = mapping(value)[key]
	}
	return value
}

// text, number, mapping, list and texts read loosely: what has another type is as
// good as missing, since the API server refuses it anyway.
func text(value any) string {
	s, _ := value.(string)
	return s
}

func number(value any) int {
	switch n := value.(type) {
	case int:
		return n
	case int64:
		return int(n)
	case float64:
		return int(n)
	}
	return 0
}

func mapping(value any) map[string]any {
	switch m := value.(type) {
	case map[string]any:
		return m
	case Object:
		return m
	}
	return nil
}

func list(value any) []any {
	l, _ := value.([]any)
	return l
}

// texts is a map of strings; other scalars are written out.
func texts(value any) map[string]string {
	found := make(map[string]string)
	for key, v := range mapping(value) {
		found[key] = fmt.Sprint(v)
	}
	return found
}

// selects reports whether a label selector chooses labels. An empty selector chooses
// everything, a missing one nothing.
func selects(selector any, labels map[string]string) bool {
	if mapping(selector) == nil {
		return false
	}
	for key, want := range texts(at(selector, "matchLabels")) {
		if got, ok := labels[key]; !ok || got != want {
			return false
		}
	}
	for _, e := range list(at(selector, "matchExpressions")) {
		value, present := labels[text(at(e, "key"))]
		listed := slices.Contains(list(at(e, "values")), any(value))
		switch text(at(e, "operator")) {
		case "In":
			if !present || !listed {
				return false
			}
		case "NotIn":
			if present && listed {
				return false
			}
		case "Exists":
			if !present {
				return false
			}
		case "DoesNotExist":
			if present {
				return false
			}
		}
	}
	return true
}

// ofKind are the objects of a kind.
func ofKind(objects []Object, kinds ...string) []Object {
	var found []Object
	for _, o := range objects {
		if slices.Contains(kinds, o.Kind()) {
			found = append(found, o)
		}
	}
	return found
}

// Find returns the object of a kind and name, or nil.
func Find(objects []Object, kind, name string) Object {
	for _, o := range objects {
		if o.Kind() == kind && o.Name() == name {
			return o
		}
	}
	return nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func oneOf(names []string) string { return strings.Join(names, ", ") }
