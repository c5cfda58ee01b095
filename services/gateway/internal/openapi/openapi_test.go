package openapi

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	_ "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// linked is an image of the descriptors in this program, which have no comments.
func linked(t *testing.T) []byte {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
		return true
	})
	image, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// TestFile wants the committed document to be that of the generated code, whose texts
// aside.
func TestFile(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	if err := Generate(bytes.NewReader(linked(t)), &text); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../../openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(wordless(got, ""), wordless(want, "")) {
		t.Error("services/gateway/openapi.json is not of these .proto files: run make generate")
	}
}

// wordless is a value without what comes from comments; in is the name of the member that
// it is of.
func wordless(at any, in string) any {
	switch at := at.(type) {
	case map[string]any:
		for name, value := range at {
			if _, isText := value.(string); isText && in != "properties" && (name == "summary" || name == "description") {
				delete(at, name)
			} else {
				at[name] = wordless(value, name)
			}
		}
	case []any:
		for i, value := range at {
			at[i] = wordless(value, "")
		}
	}
	return at
}

func fieldOf(t *testing.T, message proto.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	t.Helper()
	field := message.ProtoReflect().Descriptor().Fields().ByName(name)
	if field == nil {
		t.Fatalf("%T has no %s", message, name)
	}
	return field
}

func TestFieldSchema(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		message proto.Message
		field   protoreflect.Name
		as      role
		needed  bool
		want    string
	}{
		{&messagingpb.SubmitMessageRequest{}, "audience", request, true, `{"$ref":"#/components/schemas/messagerie.taxonomy.v1.Audience"}`},
		{&messagingpb.SubmitMessageRequest{}, "theme", request, true, `{"type":"string","minLength":1,"maxLength":64}`},
		{&messagingpb.SubmitMessageRequest{}, "topic", request, false, `{"type":"string","maxLength":64}`},
		{&messagingpb.SubmitMessageRequest{}, "text", request, true, `{"type":"string","minLength":10,"maxLength":750}`},
		{&messagingpb.AddNoteRequest{}, "text", request, true, `{"type":"string","minLength":1,"maxLength":2000}`},
		{&messagingpb.MarkConversationReadRequest{}, "message_id", request, false, `{"type":"string","pattern":"^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?$"}`},
		{&messagingpb.GetStatisticsRequest{}, "days", request, false, `{"type":"integer","format":"int32","minimum":0,"maximum":366}`},
		{&messagingpb.EraseMyDataRequest{}, "confirm", request, true, `{"type":"boolean","enum":[true]}`},
		{&messagingpb.RequeueRefusedEventsRequest{}, "ids", request, false, `{"type":"array","items":{"type":"string","format":"uuid"},"maxItems":100,"uniqueItems":true}`},
		{&messagingpb.UpdatePreferencesRequest{}, "preferences", request, true, `{"$ref":"#/components/schemas/messagerie.messaging.v1.PreferencesInput"}`},
		{&messagingpb.Preferences{}, "locale", answer, false, `{"type":"string","enum":["","fr","en"]}`},
		{&messagingpb.Draft{}, "audience", answer, false, `{"type":"string","enum":["AUDIENCE_UNSPECIFIED","PARTICULIER","EXPLOITANT","EMPLOYEUR"]}`},
		{&messagingpb.SaveDraftRequest{}, "audience", request, false, `{"type":"string","enum":["AUDIENCE_UNSPECIFIED","PARTICULIER","EXPLOITANT","EMPLOYEUR"]}`},
		{&messagingpb.GetStatusResponse{}, "outbox_events", answer, false, `{"type":"string","format":"int64","pattern":"^-?[0-9]+$"}`},
		{&messagingpb.GetStatusResponse{}, "outbox_age", answer, false, `{"type":"string","pattern":"^-?[0-9]+(\\.[0-9]+)?s$"}`},
		{&messagingpb.Conversation{}, "create_time", answer, false, `{"type":"string","format":"date-time"}`},
		{&taxonomypb.GetTaxonomyResponse{}, "themes", answer, false, `{"type":"array","items":{"$ref":"#/components/schemas/messagerie.taxonomy.v1.Theme"}}`},
	} {
		t.Run(string(tt.message.ProtoReflect().Descriptor().Name()+"."+tt.field), func(t *testing.T) {
			t.Parallel()
			d := &document{schemas: make(map[string]object), answered: map[protoreflect.FullName]bool{"messagerie.messaging.v1.Preferences": true}}
			field := fieldOf(t, tt.message, tt.field)
			text, err := json.Marshal(d.fieldSchema(field, tt.as))
			if err != nil || string(text) != tt.want {
				t.Errorf("got %s, %v, want %s", text, err, tt.want)
			}
			if tt.as == request && needed(field) != tt.needed {
				t.Errorf("needed: %v", needed(field))
			}
		})
	}
}

func TestWritten(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		message proto.Message
		field   protoreflect.Name
		want    bool
	}{
		{&messagingpb.Conversation{}, "messages", true},
		{&messagingpb.Conversation{}, "unread", true},
		{&messagingpb.Conversation{}, "theme", true},
		{&messagingpb.Conversation{}, "topic", false},
		{&messagingpb.SubmitMessageResponse{}, "conversation", true},
		{&messagingpb.SubmitMessageResponse{}, "expected_delay", false},
		{&messagingpb.ExportMyDataResponse{}, "draft", false},
	} {
		if field := fieldOf(t, tt.message, tt.field); written(field) != tt.want {
			t.Errorf("%s: %v", field.FullName(), written(field))
		}
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	for method, want := range map[protoreflect.FullName][]int{
		"messagerie.taxonomy.v1.TaxonomyService.GetTaxonomy":           {304, 400, 429, 500, 503, 504},
		"messagerie.messaging.v1.MessagingService.SubmitMessage":       {400, 401, 403, 409, 413, 415, 429, 500, 503, 504},
		"messagerie.messaging.v1.MessagingService.GetConversation":     {304, 400, 401, 403, 404, 429, 500, 503, 504},
		"messagerie.messaging.v1.MessagingService.DeleteDraft":         {400, 401, 403, 412, 429, 500, 503, 504},
		"messagerie.messaging.v1.AgentService.DeleteDraft":             {400, 401, 403, 412, 429, 500, 503, 504},
		"messagerie.messaging.v1.AgentService.SaveDraft":               {400, 401, 403, 404, 409, 412, 413, 415, 429, 500, 503, 504},
		"messagerie.messaging.v1.MessagingService.WatchConversations":  {400, 401, 403, 406, 429, 500, 503, 504},
		"messagerie.messaging.v1.AgentService.ClaimConversation":       {400, 401, 403, 404, 409, 412, 413, 415, 429, 500, 503, 504},
		"messagerie.messaging.v1.OperatorService.RequeueRefusedEvents": {400, 401, 403, 413, 415, 429, 500, 503, 504},
	} {
		desc, err := protoregistry.GlobalFiles.FindDescriptorByName(method)
		if err != nil {
			t.Fatal(err)
		}
		ops, err := new(document).operations(desc.(protoreflect.MethodDescriptor))
		if err != nil {
			t.Fatal(err)
		}
		if got := ops[0].statuses(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", method, got, want)
		}
	}
}

func TestOperationID(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]string{
		messagingpb.MessagingService_GetConversation_FullMethodName: "getConversation",
		messagingpb.AgentService_GetConversation_FullMethodName:     "agentGetConversation",
		messagingpb.OperatorService_GetStatus_FullMethodName:        "messagingOperatorGetStatus",
		taxonomypb.OperatorService_GetStatus_FullMethodName:         "taxonomyOperatorGetStatus",
	} {
		if got := operationID(method); got != want {
			t.Errorf("%s: %s, want %s", method, got, want)
		}
	}
}
