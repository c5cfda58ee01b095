package manifest

import (
	"fmt"
	"reflect"
	"strings"
)

// Mutant is a fault put into good manifests on purpose. A test that does not notice
// it proves nothing about those that nobody seeded.
type Mutant struct {
	Name string
	// Server tells faults that an API server refuses or warns about; the others only
	// Lint sees.
	Server bool
	// Message is part of what must be said about it.
	Message string
	change  func(*mutation)
}

// Apply returns a copy of objects with the fault, and those objects that differ. It
// fails where the objects have no place for it.
func (m Mutant) Apply(objects []Object) (all, changed []Object, err error) {
	mut := &mutation{objects: clone(objects)}
	m.change(mut)
	if mut.missing != "" {
		return nil, nil, fmt.Errorf("seeding %s: the manifests have no %s", m.Name, mut.missing)
	}
	known := make(map[string]Object)
	for _, o := range objects {
		known[o.APIVersion()+o.String()] = o
	}
	for _, o := range mut.objects {
		if !reflect.DeepEqual(known[o.APIVersion()+o.String()], o) {
			changed = append(changed, o)
		}
	}
	return mut.objects, changed, nil
}

func clone(objects []Object) []Object {
	var all []Object
	for _, o := range objects {
		all = append(all, copied(map[string]any(o)).(map[string]any))
	}
	return all
}

func copied(value any) any {
	switch v := value.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, item := range v {
			m[key] = copied(item)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, item := range v {
			l[i] = copied(item)
		}
		return l
	}
	return value
}

// mutation is the copy that a mutant changes. A place that is not there is noted,
// and what is written to it lost.
type mutation struct {
	objects []Object
	missing string
}

func (m *mutation) object(kind, name string) Object {
	for _, o := range m.objects {
		// Generated names end in a hash.
		if o.Kind() == kind && (o.Name() == name || name == "" || kind == "ConfigMap" && strings.HasPrefix(o.Name(), name+"-")) {
			return o
		}
	}
	m.missing = kind + "/" + name
	return Object{}
}

// part is the map at a path, made where it is missing.
func (m *mutation) part(value map[string]any, path ...string) map[string]any {
	for _, key := range path {
		next, ok := value[key].(map[string]any)
		if !ok {
			next = make(map[string]any)
			value[key] = next
		}
		value = next
	}
	return value
}

func (m *mutation) spec(kind, name string) map[string]any {
	return m.part(m.object(kind, name), "spec")
}

func (m *mutation) podSpec(name string) map[string]any {
	return m.part(m.object("Deployment", name), "spec", "template", "spec")
}

// first is the first element of a list of maps.
func (m *mutation) first(value any, what string) map[string]any {
	if l := list(value); len(l) > 0 {
		return mapping(l[0])
	}
	m.missing = what
	return map[string]any{}
}

func (m *mutation) container(name string) map[string]any {
	return m.first(m.podSpec(name)["containers"], "container of "+name)
}

func (m *mutation) config(name string) map[string]any {
	return m.part(m.object("ConfigMap", name), "data")
}

func (m *mutation) rule() map[string]any {
	group := m.first(m.spec("PrometheusRule", "")["groups"], "group of rules")
	return m.first(group["rules"], "rule")
}

func (m *mutation) trigger() map[string]any {
	return m.part(m.first(m.spec("ScaledObject", "")["triggers"], "trigger"), "metadata")
}

// secretItem is the first key of a Secret that a pod mounts.
func (m *mutation) secretItem(name string) map[string]any {
	for _, v := range list(m.podSpec(name)["volumes"]) {
		for _, source := range append([]any{v}, list(at(v, "projected", "sources"))...) {
			if items := list(at(source, "secret", "items")); len(items) > 0 {
				return mapping(items[0])
			}
		}
	}
	m.missing = "mounted Secret of " + name
	return map[string]any{}
}

// projected is the first item of a Secret among those that a pod mounts as one volume.
func (m *mutation) projected(name, secret string) map[string]any {
	for _, v := range list(m.podSpec(name)["volumes"]) {
		for _, source := range list(at(v, "projected", "sources")) {
			if text(at(source, "secret", "name")) == secret {
				return m.first(at(source, "secret", "items"), "item of Secret "+secret)
			}
		}
	}
	m.missing = "mounted Secret " + secret
	return map[string]any{}
}

// remove drops the objects for which drop is true; there must be one.
func (m *mutation) remove(what string, drop func(Object) bool) {
	var kept []Object
	for _, o := range m.objects {
		if !drop(o) {
			kept = append(kept, o)
		}
	}
	if len(kept) == len(m.objects) {
		m.missing = what
	}
	m.objects = kept
}
