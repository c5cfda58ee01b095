package manifest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pod is what a workload makes pods of.
type pod struct {
	owner  Object
	field  string
	labels map[string]string
	spec   map[string]any
}

// container is one of a pod's containers.
type container struct {
	field string
	init  bool
	Object
}

// workloadKinds are the kinds that make pods.
var workloadKinds = []string{"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}

// pods are the pod templates of all workloads.
func (l *linter) pods() []pod {
	var all []pod
	for _, o := range ofKind(l.objects, workloadKinds...) {
		field, template := "spec.template", o.at("spec", "template")
		if o.Kind() == "CronJob" {
			field, template = "spec.jobTemplate.spec.template", o.at("spec", "jobTemplate", "spec", "template")
		}
		all = append(all, pod{o, field, texts(at(template, "metadata", "labels")), mapping(at(template, "spec"))})
	}
	return all
}

func (p pod) containers() []container {
	var all []container
	for _, kind := range []string{"initContainers", "containers"} {
		for _, c := range list(p.spec[kind]) {
			field := fmt.Sprintf("%s.spec.%s[%s]", p.field, kind, text(at(c, "name")))
			all = append(all, container{field, kind == "initContainers", mapping(c)})
		}
	}
	return all
}

// runs is the service whose program a container runs, by its image.
func (l *linter) runs(c container) (Service, bool) {
	image, _ := splitImage(text(c.at("image")))
	s, ours := l.facts.Services[image[strings.LastIndex(image, "/")+1:]]
	return s, ours
}

// splitImage cuts an image's name from its tag and digest.
func splitImage(image string) (name, tag string) {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndex(image, ":"); colon > strings.LastIndex(image, "/") {
		return image[:colon], image[colon+1:]
	}
	return image, ""
}

// ports are the numbers of a container's ports by name.
func (c container) ports() map[string]int {
	found := make(map[string]int)
	for _, p := range list(c.at("ports")) {
		found[text(at(p, "name"))] = number(at(p, "containerPort"))
	}
	return found
}

func (l *linter) workloads() {
	for _, p := range l.pods() {
		l.identity(p)
		l.volumes(p)
		for _, c := range p.containers() {
			l.probes(p, c)
			l.image(p, c)
			s, ours := l.runs(c)
			if !ours {
				l.variables(p, c)
				continue
			}
			l.settings(p, c, s)
			if serves := len(list(c.at("args"))) == 0; serves {
				l.numbers(p, c, s)
				l.drain(p, c, s)
			}
			if c.at("securityContext", "readOnlyRootFilesystem") != true {
				l.fault(p.owner, c.field+".securityContext.readOnlyRootFilesystem", "the root file system can be written to", "set it to true")
			}
		}
	}
}

// identity checks what a pod is and where it may be put.
func (l *linter) identity(p pod) {
	if name := text(p.spec["serviceAccountName"]); name != "" && name != "default" && Find(l.objects, "ServiceAccount", name) == nil {
		l.fault(p.owner, p.field+".spec.serviceAccountName", "ServiceAccount "+name+" is made by nobody", "correct the name, or add it")
	}
	if p.spec["automountServiceAccountToken"] != false {
		l.fault(p.owner, p.field+".spec.automountServiceAccountToken", "the pod gets a token for the cluster's API", "set it to false")
	}
	for i, spread := range list(p.spec["topologySpreadConstraints"]) {
		if !selects(at(spread, "labelSelector"), p.labels) {
			l.fault(p.owner, fmt.Sprintf("%s.spec.topologySpreadConstraints[%d]", p.field, i), "the selector does not choose the pod itself", "select its own labels")
		}
	}
}

func (l *linter) volumes(p pod) {
	for _, v := range list(p.spec["volumes"]) {
		field := p.field + ".spec.volumes[" + text(at(v, "name")) + "]"
		for _, source := range append(slices.Clone(list(at(v, "projected", "sources"))), v) {
			if at(source, "secret", "optional") == true || at(source, "configMap", "optional") == true {
				continue
			}
			if secret := mapping(at(source, "secret")); secret != nil {
				name := text(secret["secretName"]) + text(secret["name"])
				for _, key := range itemKeys(secret) {
					l.needSecret(p.owner, field, name, key)
				}
			}
			if configMap := mapping(at(source, "configMap")); configMap != nil {
				for _, key := range itemKeys(configMap) {
					l.needConfigMap(p.owner, field, text(configMap["name"]), key)
				}
			}
		}
	}
}

// itemKeys are the keys that a volume asks for, or "" for all.
func itemKeys(source map[string]any) []string {
	keys := []string{}
	for _, item := range list(source["items"]) {
		keys = append(keys, text(at(item, "key")))
	}
	if len(keys) == 0 {
		return []string{""}
	}
	return keys
}

// probes checks that a probe asks a port that the container has, and our own the
// page that is for it: liveness must not depend on a database.
func (l *linter) probes(p pod, c container) {
	ports := c.ports()
	_, ours := l.runs(c)
	for kind, page := range map[string]string{"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": ""} {
		for _, way := range []string{"httpGet", "tcpSocket", "grpc"} {
			asked := mapping(c.at(kind, way))
			if asked == nil {
				continue
			}
			field := c.field + "." + kind + "." + way
			l.portOf(p.owner, field+".port", ports, asked["port"])
			if !ours {
				continue
			}
			if port := asked["port"]; way != "httpGet" || port != "admin" && number(port) != ports["admin"] {
				l.fault(p.owner, field+".port", "the probe does not ask the admin port", "use httpGet with port admin: the others may speak TLS")
			}
			if got := text(asked["path"]); page != "" && got != page || page == "" && got != "/livez" && got != "/readyz" {
				l.fault(p.owner, field+".path", got+" is not the page for it", "use /livez for liveness, /readyz for readiness")
			}
		}
	}
}

// portOf reports a port, by name or number, that a container does not have.
func (l *linter) portOf(o Object, field string, ports map[string]int, port any) {
	if name := text(port); name != "" {
		if _, known := ports[name]; !known {
			l.fault(o, field, "no container port is named "+name, "use one of "+oneOf(sorted(ports)))
		}
		return
	}
	for _, n := range ports {
		if n == number(port) {
			return
		}
	}
	l.fault(o, field, fmt.Sprintf("no container port is %d", number(port)), "use a port's name")
}

// image checks the name of an image that says it is the project's own. Overlays may
// take it from another registry.
func (l *linter) image(p pod, c container) {
	name, tag := splitImage(text(c.at("image")))
	if strings.Contains(name, "ma-messagerie/") && !l.facts.hasImage(name) {
		l.fault(p.owner, c.field+".image", name+" is no image of this project", "use "+Registry+"<service>")
	}
	if tag == "latest" || tag == "" && !strings.Contains(text(c.at("image")), "@") {
		l.fault(p.owner, c.field+".image", "the tag of "+name+" says nothing about what will run", "name a version or a digest")
	}
}

// settingNow is what a setting will be: what the container is given, or the code's
// default.
func (l *linter) settingNow(p pod, c container, s Service, name string) string {
	value := s.Settings[s.Prefix()+name].Default
	quiet := &linter{objects: l.objects, facts: l.facts}
	for _, v := range quiet.variables(p, c) {
		if v.name == s.Prefix()+name {
			value = v.value
		}
	}
	return value
}

// numbers checks that ports are where the program listens.
func (l *linter) numbers(p pod, c container, s Service) {
	ports := c.ports()
	for port, setting := range map[string]string{"grpc": "GRPC_ADDR", "http": "HTTP_ADDR", "admin": "ADMIN_ADDR"} {
		if _, listens := s.Settings[s.Prefix()+setting]; !listens {
			continue
		}
		_, digits, err := net.SplitHostPort(l.settingNow(p, c, s, setting))
		want, _ := strconv.Atoi(digits)
		if got := ports[port]; err == nil && got != want {
			l.fault(p.owner, c.field+".ports["+port+"]", fmt.Sprintf("the port is %d and %s%s is %d", got, s.Prefix(), setting, want), "make them agree")
		}
	}
}

// defaultGrace is Kubernetes' own grace period.
const defaultGrace = 30

// drain checks that a process has the time to go that it takes.
func (l *linter) drain(p pod, c container, s Service) {
	grace := defaultGrace
	if set := p.spec["terminationGracePeriodSeconds"]; set != nil {
		grace = number(set)
	}
	need := time.Duration(number(c.at("lifecycle", "preStop", "sleep", "seconds"))) * time.Second
	for _, name := range []string{"DRAIN_DELAY", "DRAIN_TIMEOUT"} {
		d, _ := time.ParseDuration(l.settingNow(p, c, s, name))
		need += d
	}
	if need >= time.Duration(grace)*time.Second {
		l.fault(p.owner, p.field+".spec.terminationGracePeriodSeconds",
			fmt.Sprintf("preStop, DRAIN_DELAY and DRAIN_TIMEOUT take %v of %ds", need, grace), "give more grace, or shorten them")
	}
}
