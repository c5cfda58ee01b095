package eventspb

import (
	"strings"
	"testing"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"
)

var eventTypes = []string{
	TypeMessageSubmitted, TypeReplyPosted, TypeFollowupPosted, TypeConversationClaimed, TypeConversationRecategorised,
	TypeConversationClosed, TypeConversationReopened, TypeConversationErased,
}

// A payload without a type could not be published, and a type without a payload
// could not be read.
func TestTypes_AreThePayloads(t *testing.T) {
	want := make(map[string]bool)
	messages := File_messagerie_events_v1_events_proto.Messages()
	for i := range messages.Len() {
		if name := messages.Get(i).Name(); name != "Origin" {
			want[kebab(string(name))] = true
		}
	}
	for _, eventType := range eventTypes {
		if !want[eventType] {
			t.Errorf("type %s has no payload", eventType)
		}
		delete(want, eventType)
	}
	for left := range want {
		t.Errorf("payload of %s has no type", left)
	}
}

func kebab(name string) string {
	var out strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			out.WriteByte('-')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

// These are on the wire and in the permissions of brokers: they do not change.
func TestNames_OnTheWire(t *testing.T) {
	for _, row := range []struct{ got, want string }{
		{StreamName, "MESSAGERIE"},
		{CEType(DefaultDomain, TypeMessageSubmitted), "org.ma-messagerie.message-submitted.v1"},
		{CEType("messagerie.example.org", TypeReplyPosted), "org.example.messagerie.reply-posted.v1"},
		{CEType("localhost", TypeReplyPosted), "localhost.reply-posted.v1"},
		{TypeOf("org.example.messagerie.reply-posted.v1"), TypeReplyPosted},
		{TypeOf("org.example.messagerie.reply-posted.v2"), ""},
		{TypeOf("reply-posted.v1"), ""},
		{TypeOf(""), ""},
		{Schema(TypeMessageSubmitted), "https://type.googleapis.com/messagerie.events.v1.MessageSubmitted"},
		{Subject(TypeMessageSubmitted, "msa-75"), "messagerie.message-submitted.v1.msa-75"},
		{Subject(TypeConversationClosed, "x"), "messagerie.conversation-closed.v1.x"},
		{AllCaisses(TypeReplyPosted), "messagerie.reply-posted.v1.*"},
	} {
		if row.got != row.want {
			t.Errorf("got %s, want %s", row.got, row.want)
		}
	}
	for _, eventType := range eventTypes {
		if name := strings.TrimPrefix(Schema(eventType), "https://type.googleapis.com/"); File_messagerie_events_v1_events_proto.Messages().ByName(protoreflect.FullName(name).Name()) == nil {
			t.Errorf("the schema of %s is %s, which is none", eventType, name)
		}
		if TypeOf(CEType(DefaultDomain, eventType)) != eventType {
			t.Errorf("%s is not known by its own CloudEvents type", eventType)
		}
		if subject := Subject(eventType, "c"); !strings.HasPrefix(subject, SubjectPrefix) || strings.Count(subject, ".") != 3 {
			t.Errorf("%s is not one of the stream's, in four tokens", subject)
		}
	}
}

func TestRetention(t *testing.T) {
	// The broker refuses a window that is longer than the age.
	if DuplicateWindow > MaxAge {
		t.Errorf("duplicates are remembered for %s, events kept for %s", DuplicateWindow, MaxAge)
	}
}
