package manifest

// Mutants are the seeded faults.
func Mutants() []Mutant {
	const server, lint = true, false
	return []Mutant{
		{"typo in a field", server, "field not declared in schema", func(m *mutation) { m.container("messaging")["readinesProbe"] = map[string]any{} }},
		{"wrong type", server, "expected numeric", func(m *mutation) { m.spec("Deployment", "messaging")["replicas"] = "two" }},
		{"selector that does not match its template", server, "does not match template", func(m *mutation) {
			m.part(m.spec("Deployment", "taxonomy"), "selector", "matchLabels")["app.kubernetes.io/name"] = "taxonomie"
		}},
		{"privileged container", server, "privileged", func(m *mutation) { m.part(m.container("web"), "securityContext")["privileged"] = true }},
		{"privilege escalation", server, "allowPrivilegeEscalation", func(m *mutation) { m.part(m.container("web"), "securityContext")["allowPrivilegeEscalation"] = true }},
		{"runs as root", server, "runAsNonRoot", func(m *mutation) { m.part(m.podSpec("gateway"), "securityContext")["runAsNonRoot"] = false }},
		{"host's network", server, "host namespaces", func(m *mutation) { m.podSpec("gateway")["hostNetwork"] = true }},
		{"disruption budget with two bounds", server, "cannot be both set", func(m *mutation) { m.spec("PodDisruptionBudget", "messaging")["minAvailable"] = 1 }},
		{"quantity that is none", server, "quantities must match", func(m *mutation) { m.part(m.container("notifier"), "resources", "limits")["memory"] = "256 megs" }},
		{"variable given twice", server, "duplicate entries", func(m *mutation) {
			c := m.container("messaging")
			c["env"] = append(list(c["env"]), map[string]any{"name": "TZ", "value": "UTC"}, map[string]any{"name": "TZ", "value": "CET"})
		}},
		{"preStop longer than the grace period", server, "less than terminationGracePeriodSeconds", func(m *mutation) {
			m.part(m.container("gateway"), "lifecycle", "preStop", "sleep")["seconds"] = 600
		}},
		{"rule that only the CRD's own expression refuses", server, "absolute path", func(m *mutation) {
			rule := m.first(m.spec("HTTPRoute", "")["rules"], "rule of a route")
			rule["matches"] = []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "v1"}}}
		}},

		{"missing key of a Secret", lint, "has no key keyset", func(m *mutation) { m.secretItem("messaging")["key"] = "keysetjson" }},
		{"port name without a match", lint, "no container port is named gprc", func(m *mutation) {
			m.first(m.spec("Service", "messaging")["ports"], "port")["targetPort"] = "gprc"
		}},
		{"headless Service that renumbers", lint, "does not turn port 80", func(m *mutation) { m.first(m.spec("Service", "taxonomy")["ports"], "port")["port"] = 80 }},
		{"port that the code does not listen at", lint, "TAXONOMY_GRPC_ADDR is 9090", func(m *mutation) {
			m.first(m.container("taxonomy")["ports"], "port")["containerPort"] = 9091
		}},
		{"Service that selects nothing", lint, "no pod has these labels", func(m *mutation) {
			m.part(m.spec("Service", "notifier"), "selector")["app.kubernetes.io/name"] = "notifer"
		}},
		{"budget that selects nothing", lint, "pods of 0 workloads", func(m *mutation) {
			m.part(m.spec("PodDisruptionBudget", "web"), "selector", "matchLabels")["app.kubernetes.io/name"] = "webb"
		}},
		{"PromQL that cannot be read", lint, "cannot be read", func(m *mutation) { m.rule()["expr"] = "max(messagerie_outbox_age_seconds > 60" }},
		{"metric that nothing exports", lint, "nothing exports messagerie_outbox_age", func(m *mutation) { m.rule()["expr"] = "messagerie_outbox_age > 60" }},
		{"alert without a runbook", lint, "there is no page", func(m *mutation) {
			annotations := m.part(m.rule(), "annotations")
			delete(annotations, "runbook_url")
			annotations["runbook"] = "docs/runbooks/outbox-olde.md"
		}},
		{"unknown setting", lint, "MESSAGING_CLAIM_LEESE is no setting", func(m *mutation) { m.config("messaging")["MESSAGING_CLAIM_LEESE"] = "15m" }},
		{"value of a wrong form", lint, "unknown unit", func(m *mutation) { m.config("messaging")["MESSAGING_CLAIM_LEASE"] = "15 minutes" }},
		{"migration without the vault", lint, "MESSAGING_VAULT_URL is required", func(m *mutation) {
			job := m.part(m.object("Job", "messaging-migrate"), "spec", "template", "spec")
			c := m.first(job["containers"], "container of the migration")
			c["env"] = list(c["env"])[:1]
		}},
		{"vault's file that is not mounted", lint, "has no file vault-url", func(m *mutation) { m.projected("messaging", "messaging-vault")["path"] = "vault" }},
		{"required setting missing", lint, "GATEWAY_TAXONOMY_ADDR is required", func(m *mutation) { delete(m.config("gateway"), "GATEWAY_TAXONOMY_ADDR") }},
		{"drain longer than the grace period", lint, "DRAIN_TIMEOUT take", func(m *mutation) { m.config("gateway")["GATEWAY_DRAIN_TIMEOUT"] = "2m" }},
		{"target that is not there", lint, "there is no Service messagin", func(m *mutation) { m.config("gateway")["GATEWAY_MESSAGING_ADDR"] = "dns:///messagin:9090" }},
		{"ConfigMap that nobody makes", lint, "ConfigMap gatewai is made by nobody", func(m *mutation) {
			m.part(m.first(m.container("gateway")["envFrom"], "envFrom"), "configMapRef")["name"] = "gatewai"
		}},
		{"probe of another port", lint, "does not ask the admin port", func(m *mutation) {
			m.part(m.container("gateway"), "livenessProbe", "httpGet")["port"] = "http"
		}},
		{"liveness that depends on a database", lint, "/readyz is not the page", func(m *mutation) {
			m.part(m.container("messaging"), "livenessProbe", "httpGet")["path"] = "/readyz"
		}},
		{"image that is not built", lint, "is no image of this project", func(m *mutation) {
			m.container("taxonomy")["image"] = Registry + "taxonomie:dev"
		}},
		{"stream of another name", lint, "in the code MESSAGERIE", func(m *mutation) { m.trigger()["stream"] = "MESSAGES" }},
		{"consumer of another name", lint, "in the code notifier", func(m *mutation) { m.trigger()["consumer"] = "notifiers" }},
		{"stream that keeps less", lint, "in the code 336h", func(m *mutation) { m.spec("Stream", "")["maxAge"] = "24h" }},
		{"typo in a key of KEDA's trigger", lint, "does not read lagTreshold", func(m *mutation) { m.trigger()["lagTreshold"] = "100" }},
		{"autoscaler of nobody", lint, "there is no Deployment", func(m *mutation) {
			m.part(m.spec("HorizontalPodAutoscaler", ""), "scaleTargetRef")["name"] = "message"
		}},
		{"missing arrow", lint, "taxonomy may not be called by", func(m *mutation) {
			m.remove("NetworkPolicy into taxonomy", func(o Object) bool {
				return o.Kind() == "NetworkPolicy" && at(o.at("spec", "podSelector"), "matchLabels", "app.kubernetes.io/name") == "taxonomy" && o.at("spec", "ingress") != nil
			})
		}},
		{"extra arrow", lint, "the design has no such arrow", func(m *mutation) {
			everyone := []any{map[string]any{"podSelector": map[string]any{}}}
			m.objects = append(m.objects, Object{
				"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": map[string]any{"name": "among-us"},
				"spec": map[string]any{
					"podSelector": map[string]any{}, "policyTypes": []any{"Ingress", "Egress"},
					"ingress": []any{map[string]any{"from": everyone}}, "egress": []any{map[string]any{"to": everyone}},
				},
			})
		}},
		{"egress that nothing closes", lint, "has no policy for Egress", func(m *mutation) {
			m.remove("NetworkPolicy for egress", func(o Object) bool { return o.Kind() == "NetworkPolicy" && rules(o, "Egress") != nil })
		}},
	}
}
