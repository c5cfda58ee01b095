package manifest

import (
	"cmp"
	"fmt"
	"slices"
)

// Fault is something wrong with an object, and what to do about it.
type Fault struct {
	// Object is the object's kind and name, Field the way to the fault in it.
	Object, Field string
	Problem, Fix  string
}

func (f Fault) String() string {
	return fmt.Sprintf("%s %s: %s; %s", f.Object, f.Field, f.Problem, f.Fix)
}

// Lint returns every fault of the objects of one rendered kustomization, in a
// stable order.
func Lint(objects []Object, facts *Facts) []Fault {
	l := &linter{objects: objects, facts: facts}
	for _, check := range []func(){
		l.workloads, l.services, l.budgets, l.scalers, l.routes, l.broker, l.alerts, l.network,
	} {
		check()
	}
	slices.SortStableFunc(l.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Field, b.Field))
	})
	return slices.Compact(l.faults)
}

type linter struct {
	objects []Object
	facts   *Facts
	faults  []Fault
}

func (l *linter) fault(o Object, field, problem, fix string) {
	l.faults = append(l.faults, Fault{o.String(), field, problem, fix})
}
