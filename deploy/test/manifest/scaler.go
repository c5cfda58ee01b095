package manifest

import (
	"slices"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// natsTrigger are the keys that KEDA's scaler nats-jetstream reads. The API server
// takes any: they are a map of strings.
var natsTrigger = map[string]bool{ // key → required
	"natsServerMonitoringEndpoint": true, "account": true, "stream": true, "consumer": true, "lagThreshold": true,
	"activationLagThreshold": false, "useHttps": false,
}

func (l *linter) scalers() {
	scaled := make(map[string]string)
	for _, o := range ofKind(l.objects, "HorizontalPodAutoscaler", "ScaledObject") {
		kind, name := text(o.at("spec", "scaleTargetRef", "kind")), text(o.at("spec", "scaleTargetRef", "name"))
		if kind == "" {
			kind = "Deployment"
		}
		if Find(l.objects, kind, name) == nil {
			l.fault(o, "spec.scaleTargetRef", "there is no "+kind+" "+name, "correct the name")
		}
		if other := scaled[name]; other != "" {
			l.fault(o, "spec.scaleTargetRef", other+" scales "+name+" as well", "keep one")
		}
		scaled[name] = o.String()
		for _, t := range list(o.at("spec", "triggers")) {
			if at(t, "type") == "nats-jetstream" {
				l.trigger(o, texts(at(t, "metadata")), at(t, "authenticationRef") != nil)
			}
		}
		if least := o.at("spec", "minReplicaCount"); o.Kind() == "ScaledObject" && least != nil && number(least) < 1 {
			l.fault(o, "spec.minReplicaCount", "with no replica nobody plans what the broker did not bring", "keep at least 2")
		}
	}
}

func (l *linter) trigger(o Object, metadata map[string]string, authenticated bool) {
	const field = "spec.triggers[nats-jetstream].metadata."
	for _, key := range sorted(metadata) {
		if _, known := natsTrigger[key]; !known {
			l.fault(o, field+key, "the scaler does not read "+key, "it reads "+oneOf(sorted(natsTrigger)))
		}
	}
	for _, key := range sorted(natsTrigger) {
		elsewhere := authenticated && slices.Contains([]string{"account", "natsServerMonitoringEndpoint"}, key)
		if natsTrigger[key] && metadata[key] == "" && !elsewhere {
			l.fault(o, field+key, key+" is missing", "the scaler needs it")
		}
	}
	l.same(o, field+"stream", metadata["stream"], eventspb.StreamName)
	l.same(o, field+"consumer", metadata["consumer"], eventspb.NotifierConsumer)
}

// same reports a value that differs from the code's.
func (l *linter) same(o Object, field, got, want string) {
	if got != want {
		l.fault(o, field, "it is "+got+", in the code "+want, "take the code's, or change both")
	}
}
