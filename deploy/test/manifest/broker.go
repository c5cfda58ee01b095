package manifest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// broker compares what NACK is told to make with what the services make themselves:
// each would undo the other's differences.
func (l *linter) broker() {
	for _, o := range ofKind(l.objects, "Stream") {
		if !strings.HasPrefix(o.APIVersion(), "jetstream.nats.io/") {
			continue
		}
		l.same(o, "spec.name", text(o.at("spec", "name")), eventspb.StreamName)
		l.same(o, "spec.subjects", fmt.Sprint(list(o.at("spec", "subjects"))), fmt.Sprint([]string{eventspb.Everything}))
		l.same(o, "spec.retention", text(o.at("spec", "retention")), "limits")
		l.same(o, "spec.discard", text(o.at("spec", "discard")), "new")
		l.same(o, "spec.storage", text(o.at("spec", "storage")), "file")
		for _, key := range []string{"denyDelete", "denyPurge", "allowAtomicPublish"} {
			l.same(o, "spec."+key, fmt.Sprint(o.at("spec", key)), "true")
		}
		l.sameTime(o, "maxAge", eventspb.MaxAge)
		l.sameTime(o, "duplicateWindow", eventspb.DuplicateWindow)
	}
	for _, o := range ofKind(l.objects, "Consumer") {
		if !strings.HasPrefix(o.APIVersion(), "jetstream.nats.io/") {
			continue
		}
		l.same(o, "spec.streamName", text(o.at("spec", "streamName")), eventspb.StreamName)
		l.same(o, "spec.durableName", text(o.at("spec", "durableName")), eventspb.NotifierConsumer)
		l.same(o, "spec.ackPolicy", text(o.at("spec", "ackPolicy")), "explicit")
		l.same(o, "spec.deliverPolicy", text(o.at("spec", "deliverPolicy")), "all")
		l.filters(o)
	}
}

func (l *linter) sameTime(o Object, key string, want time.Duration) {
	written := text(o.at("spec", key))
	if got, err := time.ParseDuration(written); err != nil || got != want {
		l.fault(o, "spec."+key, "it is "+written+", in the code "+want.String(), "take the code's, or change both")
	}
}

// filters checks that a consumer gets events that there are.
func (l *linter) filters(o Object) {
	subjects := list(o.at("spec", "filterSubjects"))
	if one := text(o.at("spec", "filterSubject")); one != "" {
		subjects = append(subjects, one)
	}
	known := []string{eventspb.Everything}
	for _, event := range []string{
		eventspb.TypeMessageSubmitted, eventspb.TypeReplyPosted, eventspb.TypeFollowupPosted, eventspb.TypeConversationClaimed,
		eventspb.TypeConversationRecategorised, eventspb.TypeConversationClosed, eventspb.TypeConversationReopened, eventspb.TypeErasureRequested,
	} {
		known = append(known, eventspb.AllCaisses(event))
	}
	for _, s := range subjects {
		if !slices.Contains(known, text(s)) {
			l.fault(o, "spec.filterSubjects", text(s)+" is no subject of the stream", "use one of "+oneOf(known))
		}
	}
}
