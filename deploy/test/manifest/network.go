package manifest

import (
	"fmt"
	"net/netip"
	"slices"
)

// Arrow is a call that the design draws from one part of the system to another, or
// to something beside it.
type Arrow struct {
	From, To string
	Port     int
}

// Parts beside the services. Those that run as pods have labels by which policies
// name them; the others are addresses.
const (
	Broker     = "nats"
	Database   = "postgresql"
	Vault      = "vault"
	DNS        = "dns"
	Prometheus = "prometheus"
	Ingress    = "ingress"
	Internet   = "internet"
)

// Arrows are those of the design (docs/design.md, "Parts"), and what any deployment
// has beside it: names, metrics and a way in.
func Arrows() []Arrow {
	arrows := []Arrow{
		{Ingress, "web", 8000},
		{Ingress, "gateway", 8080},
		{Ingress, "gateway", 9090},
		{"web", "gateway", 9090},
		{"gateway", "taxonomy", 9090},
		{"gateway", "messaging", 9090},
		{"gateway", "notifier", 9090},
		{"messaging", "taxonomy", 9090},
		{"notifier", "messaging", 9090},
		{"messaging", Broker, 4222},
		{"notifier", Broker, 4222},
		{"messaging", Database, 5432},
		{"messaging", Vault, 5432},
		{"taxonomy", Database, 5432},
		{"notifier", Database, 5432},
	}
	for _, service := range []string{"gateway", "messaging", "taxonomy", "notifier", "web"} {
		arrows = append(arrows, Arrow{service, Internet, 443}, Arrow{service, DNS, 53}, Arrow{Prometheus, service, 9464})
	}
	return arrows
}

// cleartext is a port that nothing of ours calls outside: where it is open, all are.
const cleartext = 80

// node is one end of a call: a pod of ours, or what is known of another.
type node struct {
	name   string
	labels map[string]string // nil: not a pod of the tree
	// service is whose program it runs; empty for others'. A job runs it once, for the
	// database alone.
	service string
	job     bool
}

// network checks the policies of the tree when there are any: that nothing is open
// by default, that each arrow is let out of its start and in at its end, and that
// nothing else is between two of our pods.
func (l *linter) network() {
	policies := ofKind(l.objects, "NetworkPolicy")
	nodes := l.nodes()
	if len(nodes) == 0 {
		return
	}
	if len(policies) == 0 {
		l.fault(l.objects[0], "kind", "there is no NetworkPolicy in the tree", "add a default deny and one for each arrow")
		return
	}
	l.closed(policies, nodes)
	for _, a := range slices.Concat(Arrows(), ofJobs(nodes)) {
		from, to := nodes[a.From], nodes[a.To]
		if from.service != "" && !l.out(policies, from, to, a) {
			l.fault(policyOf(a.From), "egress", fmt.Sprintf("%s may not call %s at port %d", a.From, a.To, a.Port), "add a NetworkPolicy for it")
		}
		if (to.service != "" || isVault(to)) && !l.in(policies, from, to, a) {
			l.fault(policyOf(a.To), "ingress", fmt.Sprintf("%s may not be called by %s at port %d", a.To, a.From, a.Port), "add a NetworkPolicy for it")
		}
	}
	l.unexpected(policies, nodes)
}

func policyOf(name string) Object {
	return Object{"kind": "NetworkPolicy", "metadata": map[string]any{"name": "of " + name}}
}

// nodes are the pods of the tree by their workloads' names.
func (l *linter) nodes() map[string]node {
	nodes := make(map[string]node)
	for _, p := range l.pods() {
		n := node{name: p.owner.Name(), labels: p.labels, job: p.owner.Kind() == "Job" || p.owner.Kind() == "CronJob"}
		for _, c := range p.containers() {
			if s, ours := l.runs(c); ours {
				n.service = s.Name
			}
		}
		nodes[n.name] = n
	}
	return nodes
}

// isVault tells the vault where the tree has it: whoever reads it is as narrow a choice as
// who calls a service.
func isVault(n node) bool { return n.name == Vault && n.labels != nil }

// ofJobs are the arrows of jobs that run a service's program: migrations.
func ofJobs(nodes map[string]node) []Arrow {
	var arrows []Arrow
	for _, name := range sorted(nodes) {
		if nodes[name].job && nodes[name].service != "" {
			arrows = append(arrows, Arrow{name, Database, 5432}, Arrow{name, DNS, 53})
			if nodes[name].service == "messaging" {
				arrows = append(arrows, Arrow{name, Vault, 5432})
			}
		}
	}
	return arrows
}

// closed checks that each of our pods is denied what no policy allows.
func (l *linter) closed(policies []Object, nodes map[string]node) {
	for _, name := range sorted(nodes) {
		for _, direction := range []string{"Ingress", "Egress"} {
			if !slices.ContainsFunc(policies, func(p Object) bool {
				return rules(p, direction) != nil && selects(p.at("spec", "podSelector"), nodes[name].labels)
			}) {
				l.fault(policyOf(name), "spec.policyTypes", name+" has no policy for "+direction+", so all of it is open", "add a default deny")
			}
		}
	}
}

// rules are a policy's rules for a direction; nil when it is not about it. As
// Kubernetes has it, a policy that names no types is about ingress, and about egress
// where it has rules for it.
func rules(policy Object, direction string) []any {
	types := list(policy.at("spec", "policyTypes"))
	key := map[string]string{"Ingress": "ingress", "Egress": "egress"}[direction]
	found := list(policy.at("spec", key))
	implied := len(types) == 0 && (direction == "Ingress" || len(found) > 0)
	if !implied && !slices.Contains(types, any(direction)) {
		return nil
	}
	return append([]any{}, found...)
}

// out reports whether a pod is let out to the other end of an arrow.
func (l *linter) out(policies []Object, from, to node, a Arrow) bool {
	return l.allows(policies, "Egress", "to", from, to, a)
}

// in reports whether a pod lets in the other end of an arrow.
func (l *linter) in(policies []Object, from, to node, a Arrow) bool {
	return l.allows(policies, "Ingress", "from", to, from, a)
}

func (l *linter) allows(policies []Object, direction, side string, subject, other node, a Arrow) bool {
	for _, policy := range policies {
		if !selects(policy.at("spec", "podSelector"), subject.labels) {
			continue
		}
		for _, rule := range rules(policy, direction) {
			target := subject
			if direction == "Egress" {
				target = other
			}
			if l.portAllowed(list(at(rule, "ports")), target, a.Port) && peerAllowed(rule, side, policy.Namespace(), other, a) {
				return true
			}
		}
	}
	return false
}

// portAllowed reports whether a rule's ports hold one, by number, range or the name
// that it has in the pod that is called.
func (l *linter) portAllowed(ports []any, called node, port int) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		first, last := number(at(p, "port")), number(at(p, "endPort"))
		if name := text(at(p, "port")); name != "" {
			first = l.portNamed(called, name)
		}
		if at(p, "port") == nil || first <= port && port <= max(first, last) {
			return true
		}
	}
	return false
}

func (l *linter) portNamed(called node, name string) int {
	for _, p := range l.pods() {
		if p.owner.Name() == called.name {
			return portsOf(p)[name]
		}
	}
	return 0
}

// peerAllowed reports whether a rule's peers hold the other end. Of what is not one of
// our pods only the shape is known: DNS, Prometheus and an ingress controller are
// pods of another namespace, a database or a broker may be pods anywhere or
// addresses, the internet is addresses.
func peerAllowed(rule any, side, namespace string, other node, a Arrow) bool {
	peers := list(at(rule, side))
	if len(peers) == 0 {
		return true
	}
	name := a.To
	if side == "from" {
		name = a.From
	}
	for _, peer := range peers {
		block, pods, namespaces := at(peer, "ipBlock"), at(peer, "podSelector"), at(peer, "namespaceSelector")
		switch {
		case other.labels != nil && block == nil:
			if holdsNamespace(namespaces, namespace) && (pods == nil || selects(pods, other.labels)) {
				return true
			}
		case other.labels != nil:
		case name == Internet:
			if block != nil && public(text(at(block, "cidr"))) {
				return true
			}
		case namespaces != nil || block != nil || name == Broker || name == Database || name == Vault:
			return true
		}
	}
	return false
}

// holdsNamespace reports whether a selector holds the policy's own namespace, of which
// only the name is known.
func holdsNamespace(selector any, own string) bool {
	if len(mapping(selector)) == 0 {
		return true
	}
	named := text(at(selector, "matchLabels", "kubernetes.io/metadata.name"))
	return named != "" && named == own
}

// public reports whether a block holds public addresses.
func public(cidr string) bool {
	prefix, err := netip.ParsePrefix(cidr)
	return err == nil && !prefix.Addr().IsPrivate()
}

// unexpected reports what policies let through between two of our pods, or to the vault,
// although no arrow is drawn, and ports that are open to the world.
func (l *linter) unexpected(policies []Object, nodes map[string]node) {
	drawn := make(map[Arrow]bool)
	for _, a := range slices.Concat(Arrows(), ofJobs(nodes)) {
		drawn[a] = true
	}
	for _, from := range sorted(nodes) {
		source := nodes[from]
		if source.service == "" {
			continue
		}
		for _, to := range sorted(nodes) {
			for _, port := range l.numbersOf(to) {
				a := Arrow{from, to, port}
				if target := nodes[to]; (target.service != "" || isVault(target)) && !drawn[a] && l.in(policies, source, target, a) && l.out(policies, source, target, a) {
					l.fault(policyOf(from), "egress", fmt.Sprintf("%s may call %s at port %d, and the design has no such arrow", from, to, port), "narrow the policies, or draw the arrow")
				}
			}
		}
		if l.out(policies, source, node{}, Arrow{from, Internet, cleartext}) {
			l.fault(policyOf(from), "egress", from+" may call the internet in clear text", "allow 443 and what it needs beside")
		}
	}
}

// numbersOf are the numbers of the ports of a workload's pods.
func (l *linter) numbersOf(name string) []int {
	var all []int
	for _, p := range l.pods() {
		if p.owner.Name() == name {
			for _, port := range portsOf(p) {
				all = append(all, port)
			}
		}
	}
	return all
}
