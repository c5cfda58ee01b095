package manifest

import (
	"strings"
	"testing"
	"time"
)

func decode(t *testing.T, content string) []Object {
	t.Helper()
	objects, err := Decode(content)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestSelects(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"app": "web", "tier": "front"}
	for _, c := range []struct {
		selector string
		want     bool
	}{
		{"{}", true},
		{"matchLabels: {app: web}", true},
		{"matchLabels: {app: web, tier: back}", false},
		{"matchLabels: {zone: a}", false},
		{"matchExpressions: [{key: app, operator: In, values: [api, web]}]", true},
		{"matchExpressions: [{key: app, operator: NotIn, values: [web]}]", false},
		{"matchExpressions: [{key: zone, operator: NotIn, values: [a]}]", true},
		{"matchExpressions: [{key: zone, operator: Exists}]", false},
		{"matchExpressions: [{key: zone, operator: DoesNotExist}]", true},
	} {
		object := decode(t, "selector:\n  "+c.selector)
		if got := selects(object[0]["selector"], labels); got != c.want {
			t.Errorf("%s: %t", c.selector, got)
		}
	}
	if selects(nil, labels) {
		t.Error("a missing selector chose something")
	}
}

// Structs as the reader of settings sees them: embedded, nested with a prefix, and
// fields that are none.
func TestSettings(t *testing.T) {
	t.Parallel()
	type Shared struct {
		Addr string `env:"ADDR" envDefault:":9090"`
	}
	type Config struct {
		Shared
		Broker struct {
			URL string `env:"URL,required"`
		} `envPrefix:"NATS_"`
		Wait time.Duration `env:"WAIT"`
		Hook func()
	}
	settings := Settings("WEB_", Config{})
	if got := strings.Join(sorted(settings), " "); got != "WEB_ADDR WEB_NATS_URL WEB_WAIT" {
		t.Errorf("settings are %s", got)
	}
	if !settings["WEB_NATS_URL"].Required || settings["WEB_WAIT"].Required || settings["WEB_ADDR"].Default != ":9090" {
		t.Errorf("settings are %+v", settings)
	}
	for variable, want := range map[string]bool{"WEB_ADDR": true, "WEB_NATS_URL_FILE": true, "WEB_ADR": false, "WEB_ADR_FILE": false, "_FILE": false} {
		if _, known := settingOf(settings, variable); known != want {
			t.Errorf("%s: known is %t", variable, known)
		}
	}
}

func TestSplitImage(t *testing.T) {
	t.Parallel()
	for image, want := range map[string][2]string{
		"nats":                               {"nats", ""},
		"nats:2.15":                          {"nats", "2.15"},
		"localhost:5000/nats":                {"localhost:5000/nats", ""},
		"localhost:5000/nats:2@sha256:00":    {"localhost:5000/nats", "2"},
		"ghcr.io/ma-messagerie/web@sha256:0": {"ghcr.io/ma-messagerie/web", ""},
	} {
		if name, tag := splitImage(image); [2]string{name, tag} != want {
			t.Errorf("%s: %s and %s", image, name, tag)
		}
	}
}

// two pods, and policies between them.
const pair = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "x/web:1", ports: [{name: http, containerPort: 8000}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway}
spec:
  template:
    metadata: {labels: {app: gateway}}
    spec: {containers: [{name: gateway, image: "x/gateway:1", ports: [{name: grpc, containerPort: 9090}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: one}
spec:
`

func TestPolicy(t *testing.T) {
	t.Parallel()
	arrow := Arrow{"web", "gateway", 9090}
	for _, c := range []struct {
		name, spec string
		out, in    bool
	}{
		{"deny", "podSelector: {}\n  policyTypes: [Ingress, Egress]", false, false},
		{"a policy without types is about ingress", "podSelector: {}", false, false},
		{"an empty rule allows all", "podSelector: {}\n  policyTypes: [Ingress]\n  ingress: [{}]", false, true},
		{"by name of the port called", "podSelector: {matchLabels: {app: web}}\n  policyTypes: [Egress]\n  egress: [{to: [{podSelector: {matchLabels: {app: gateway}}}], ports: [{port: grpc}]}]", true, false},
		{"by a name of the caller's", "podSelector: {matchLabels: {app: web}}\n  policyTypes: [Egress]\n  egress: [{ports: [{port: http}]}]", false, false},
		{"by number", "podSelector: {matchLabels: {app: gateway}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 9090}]}]", false, true},
		{"by a range", "podSelector: {matchLabels: {app: gateway}}\n  ingress: [{ports: [{port: 9000, endPort: 9090}]}]", false, true},
		{"by a range that ends before", "podSelector: {matchLabels: {app: gateway}}\n  ingress: [{ports: [{port: 9000, endPort: 9089}]}]", false, false},
		{"another caller", "podSelector: {matchLabels: {app: gateway}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: cli}}}]}]", false, false},
		{"the caller's labels in another namespace", "podSelector: {matchLabels: {app: gateway}}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {a: b}}, podSelector: {matchLabels: {app: web}}}]}]", false, false},
		{"the caller's labels in any namespace", "podSelector: {matchLabels: {app: gateway}}\n  ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]", false, true},
		{"everybody of every namespace", "podSelector: {matchLabels: {app: gateway}}\n  ingress: [{from: [{namespaceSelector: {}}]}]", false, true},
		{"addresses", "podSelector: {matchLabels: {app: gateway}}\n  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]", false, false},
		{"the policy is another pod's", "podSelector: {matchLabels: {app: taxonomy}}\n  policyTypes: [Ingress, Egress]\n  ingress: [{}]\n  egress: [{}]", false, false},
	} {
		l := &linter{objects: decode(t, pair+"  "+c.spec), facts: &Facts{}}
		policies, nodes := ofKind(l.objects, "NetworkPolicy"), l.nodes()
		if got := l.out(policies, nodes["web"], nodes["gateway"], arrow); got != c.out {
			t.Errorf("%s: out is %t", c.name, got)
		}
		if got := l.in(policies, nodes["web"], nodes["gateway"], arrow); got != c.in {
			t.Errorf("%s: in is %t", c.name, got)
		}
	}
}

// The grace period must be longer than what a process takes, not as long.
func TestDrain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spec  string
		fault bool
	}{
		{"terminationGracePeriodSeconds: 26", false},
		{"terminationGracePeriodSeconds: 25", true},
		{"terminationGracePeriodSeconds: 31\n  containers: [{lifecycle: {preStop: {sleep: {seconds: 5}}}}]", false},
		{"terminationGracePeriodSeconds: 30\n  containers: [{lifecycle: {preStop: {sleep: {seconds: 5}}}}]", true},
		{"hostNetwork: false", false}, // 30 s
	} {
		l := &linter{facts: &Facts{}}
		p := pod{spec: mapping(decode(t, "spec:\n  "+c.spec)[0]["spec"])}
		shared := container{Object: Object{}}
		if all := p.containers(); len(all) > 0 {
			shared = all[0]
		}
		s := Service{Name: "web", Settings: map[string]Setting{"WEB_DRAIN_DELAY": {Default: "5s"}, "WEB_DRAIN_TIMEOUT": {Default: "20s"}}}
		l.drain(p, shared, s)
		if got := len(l.faults) > 0; got != c.fault {
			t.Errorf("%s: %v", c.spec, l.faults)
		}
	}
}
