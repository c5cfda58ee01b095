package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// stream and consumer are what the services make by themselves.
func (l *linter) stream() jetstream.StreamConfig {
	var cfg bus.Config
	cfg.Replicas, _ = strconv.Atoi(l.brokerSetting("NATS_REPLICAS"))
	cfg.MaxBytes, _ = strconv.ParseInt(l.brokerSetting("NATS_MAX_BYTES"), 10, 64)
	return bus.Stream{
		Name: eventspb.StreamName, Subjects: []string{eventspb.Everything},
		MaxAge: eventspb.MaxAge, DuplicateWindow: eventspb.DuplicateWindow,
	}.Settings(cfg)
}

func consumer() jetstream.ConsumerConfig {
	return bus.Consumer{Durable: eventspb.NotifierConsumer, Subjects: eventspb.NotifierSubjects()}.Settings()
}

// brokerSetting is what messaging, which makes the stream, is given.
func (l *linter) brokerSetting(name string) string {
	s := l.facts.Services["messaging"]
	for _, p := range l.pods() {
		for _, c := range p.containers() {
			if runs, ours := l.runs(c); ours && runs.Name == s.Name && len(list(c.at("args"))) == 0 {
				return l.settingNow(p, c, s, name)
			}
		}
	}
	return s.Settings[s.Prefix()+name].Default
}

// broker compares what NACK is told to make with what the services make themselves:
// each would undo the other's differences.
func (l *linter) broker() {
	for _, o := range ofKind(l.objects, "Stream", "Consumer") {
		if !strings.HasPrefix(o.APIVersion(), "jetstream.nats.io/") {
			continue
		}
		want := fieldsOfStream(l.stream())
		if o.Kind() == "Consumer" {
			want = fieldsOfConsumer(consumer())
		}
		for _, key := range sorted(want) {
			l.same(o, "spec."+key, plain(o.at("spec", key)), want[key])
		}
	}
}

// fieldsOfStream are a stream's settings as NACK's resource has them.
func fieldsOfStream(s jetstream.StreamConfig) map[string]string {
	return map[string]string{
		"name": s.Name, "subjects": plain(s.Subjects), "replicas": plain(s.Replicas), "maxBytes": plain(s.MaxBytes),
		"retention": name(s.Retention), "discard": name(s.Discard), "storage": name(s.Storage),
		"maxAge": s.MaxAge.String(), "duplicateWindow": s.Duplicates.String(),
		"denyDelete": plain(s.DenyDelete), "denyPurge": plain(s.DenyPurge), "allowAtomicPublish": plain(s.AllowAtomicPublish),
	}
}

func fieldsOfConsumer(c jetstream.ConsumerConfig) map[string]string {
	slices.Sort(c.FilterSubjects)
	return map[string]string{
		"streamName": eventspb.StreamName, "durableName": c.Durable, "filterSubjects": plain(c.FilterSubjects),
		"ackPolicy": name(c.AckPolicy), "deliverPolicy": name(c.DeliverPolicy), "ackWait": c.AckWait.String(),
		"maxDeliver": plain(c.MaxDeliver), "maxAckPending": plain(c.MaxAckPending),
	}
}

// name is how NACK writes a policy: lower case, without the kind of policy that some
// of the client's names begin with.
func name(policy fmt.Stringer) string {
	lower := strings.ToLower(policy.String())
	return strings.TrimPrefix(strings.TrimPrefix(lower, "discard"), "ack")
}

// plain writes a value so that times, lists and numbers of both sides compare.
func plain(value any) string {
	switch v := value.(type) {
	case string:
		if d, err := time.ParseDuration(v); err == nil {
			return d.String()
		}
	case []any:
		var all []string
		for _, item := range v {
			all = append(all, fmt.Sprint(item))
		}
		slices.Sort(all)
		return fmt.Sprint(all)
	case float64:
		return strconv.FormatInt(int64(v), 10)
	case nil:
		return "missing"
	}
	return fmt.Sprint(value)
}
