package manifest

import (
	"fmt"
	"regexp"
	"strings"
)

// podsOf are the pods that labels choose.
func (l *linter) podsOf(labels map[string]any) []pod {
	var found []pod
	for _, p := range l.pods() {
		if len(labels) > 0 && selects(map[string]any{"matchLabels": labels}, p.labels) {
			found = append(found, p)
		}
	}
	return found
}

// portsOf are the ports of all containers of a pod.
func portsOf(p pod) map[string]int {
	all := make(map[string]int)
	for _, c := range p.containers() {
		for name, port := range c.ports() {
			all[name] = port
		}
	}
	return all
}

func (l *linter) services() {
	for _, o := range ofKind(l.objects, "Service") {
		if o.at("spec", "type") == "ExternalName" || o.at("spec", "selector") == nil {
			continue
		}
		chosen := l.podsOf(mapping(o.at("spec", "selector")))
		if len(chosen) == 0 {
			l.fault(o, "spec.selector", "no pod has these labels", "use those of a pod template")
			continue
		}
		for _, port := range list(o.at("spec", "ports")) {
			for _, p := range chosen {
				l.servicePort(o, port, portsOf(p))
			}
		}
	}
	for _, p := range l.pods() {
		for _, c := range p.containers() {
			if s, ours := l.runs(c); ours && len(list(c.at("args"))) == 0 {
				l.targets(p, c, s)
			}
		}
	}
}

func (l *linter) servicePort(o Object, port any, ports map[string]int) {
	field := "spec.ports[" + text(at(port, "name")) + "].targetPort"
	target := at(port, "targetPort")
	if target == nil {
		target = at(port, "port")
	}
	l.portOf(o, field, ports, target)
	reached := number(target)
	if name := text(target); name != "" {
		reached = ports[name]
	}
	if o.at("spec", "clusterIP") == "None" && reached != 0 && reached != number(at(port, "port")) {
		l.fault(o, field, fmt.Sprintf("a headless Service does not turn port %d into %d", number(at(port, "port")), reached), "give both the same number")
	}
}

// dialled is a gRPC target: dns:///host:port.
var dialled = regexp.MustCompile(`^dns:///([a-z0-9-]+)[a-z0-9.-]*:(\d+)$`)

// targets checks that what a program dials is there, and is headless: behind one
// address, a connection that lasts would bring all calls to one pod.
func (l *linter) targets(p pod, c container, s Service) {
	for _, name := range sorted(s.Settings) {
		match := dialled.FindStringSubmatch(l.settingNow(p, c, s, strings.TrimPrefix(name, s.Prefix())))
		if match == nil {
			continue
		}
		service := Find(l.objects, "Service", match[1])
		if service == nil {
			l.fault(p.owner, c.field+" "+name, "there is no Service "+match[1], "correct the target")
			continue
		}
		found := false
		for _, port := range list(service.at("spec", "ports")) {
			found = found || fmt.Sprint(number(at(port, "port"))) == match[2]
		}
		if !found {
			l.fault(p.owner, c.field+" "+name, "Service "+match[1]+" has no port "+match[2], "correct the target or the Service")
		}
		if service.at("spec", "clusterIP") != "None" {
			l.fault(service, "spec.clusterIP", "gRPC clients spread calls over the addresses that DNS gives, and this Service gives one", "make it None")
		}
	}
}

// budgets checks that each of our Deployments has one disruption budget, and that it
// lets a node be drained.
func (l *linter) budgets() {
	covered := make(map[string]int)
	for _, o := range ofKind(l.objects, "PodDisruptionBudget") {
		found := 0
		for _, p := range l.pods() {
			if !selects(o.at("spec", "selector"), p.labels) || p.owner.Kind() == "Job" {
				continue
			}
			found++
			covered[p.owner.Name()]++
			if least := o.at("spec", "minAvailable"); least != nil && number(least) >= max(1, number(p.owner.at("spec", "replicas"))) {
				l.fault(o, "spec.minAvailable", "no pod of "+p.owner.Name()+" may ever be evicted", "use maxUnavailable: 1")
			}
		}
		if found != 1 {
			l.fault(o, "spec.selector", fmt.Sprintf("it selects the pods of %d workloads", found), "select those of one")
		}
	}
	for _, o := range ofKind(l.objects, "Deployment") {
		if _, ours := l.facts.Services[o.Name()]; ours && covered[o.Name()] != 1 {
			l.fault(o, "metadata.name", fmt.Sprintf("%d disruption budgets select its pods", covered[o.Name()]), "have one")
		}
	}
}

// routes checks what brings calls from outside and what collects metrics.
func (l *linter) routes() {
	for _, o := range ofKind(l.objects, "HTTPRoute", "GRPCRoute") {
		for i, rule := range list(o.at("spec", "rules")) {
			for _, ref := range list(at(rule, "backendRefs")) {
				l.backend(o, fmt.Sprintf("spec.rules[%d].backendRefs", i), text(at(ref, "name")), at(ref, "port"))
			}
		}
	}
	for _, o := range ofKind(l.objects, "Ingress") {
		for i, rule := range list(o.at("spec", "rules")) {
			for _, path := range list(at(rule, "http", "paths")) {
				port := at(path, "backend", "service", "port", "number")
				if port == nil {
					port = at(path, "backend", "service", "port", "name")
				}
				l.backend(o, fmt.Sprintf("spec.rules[%d].http.paths", i), text(at(path, "backend", "service", "name")), port)
			}
		}
	}
	for _, o := range ofKind(l.objects, "PodMonitor") {
		l.monitor(o)
	}
}

// backend reports a Service or port of one that is not there.
func (l *linter) backend(o Object, field, name string, port any) {
	service := Find(l.objects, "Service", name)
	if service == nil {
		l.fault(o, field, "there is no Service "+name, "correct the name")
		return
	}
	for _, p := range list(service.at("spec", "ports")) {
		if at(p, "name") == port || number(at(p, "port")) == number(port) && number(port) != 0 {
			return
		}
	}
	l.fault(o, field, fmt.Sprintf("Service %s has no port %v", name, port), "correct the port")
}

func (l *linter) monitor(o Object) {
	found := false
	for _, p := range l.pods() {
		if p.owner.Kind() == "Job" || !selects(o.at("spec", "selector"), p.labels) {
			continue
		}
		found = true
		for i, endpoint := range list(o.at("spec", "podMetricsEndpoints")) {
			l.portOf(o, fmt.Sprintf("spec.podMetricsEndpoints[%d].port", i), portsOf(p), text(at(endpoint, "port")))
		}
	}
	if !found {
		l.fault(o, "spec.selector", "no pod has these labels", "use those of a pod template")
	}
}
