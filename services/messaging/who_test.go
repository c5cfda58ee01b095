package messaging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// Who gets a member's name and number, of those who call a method about a conversation of
// theirs in the queue "famille" of the caisse msa-75. A new method needs a line.
var tellsWhoWrites = map[string][]string{
	"AgentService/GetConversation": {"agent", "agent with member.read", "machine", "supervisor"},
	"AgentService/PostReply":       {"agent", "agent with member.read", "machine", "supervisor"},
	"AgentService/AddNote":         {"agent", "agent with member.read", "machine", "supervisor"},

	"AgentService/AssignConversation":       nil,
	"AgentService/ClaimConversation":        nil,
	"AgentService/CloseConversation":        nil,
	"AgentService/DeleteDraft":              nil,
	"AgentService/DeleteTemplate":           nil,
	"AgentService/FindConversations":        nil,
	"AgentService/GetDraft":                 nil,
	"AgentService/GetStatistics":            nil,
	"AgentService/HoldConversation":         nil,
	"AgentService/ListAgents":               nil,
	"AgentService/ListAuditEntries":         nil,
	"AgentService/ListConversations":        nil,
	"AgentService/ListDrafts":               nil,
	"AgentService/ListQueues":               nil,
	"AgentService/ListTemplates":            nil,
	"AgentService/RecategoriseConversation": nil,
	"AgentService/ReleaseConversation":      nil,
	"AgentService/ReopenConversation":       nil,
	"AgentService/SaveDraft":                nil,
	"AgentService/SaveTemplate":             nil,
	"AgentService/TakeOverConversation":     nil,
	"AgentService/TransferConversation":     nil,
	"AgentService/UnholdConversation":       nil,
	"AgentService/WatchConversations":       nil,

	"MessagingService/CreateWatchTicket":    nil,
	"MessagingService/DeleteDraft":          nil,
	"MessagingService/EraseMyData":          nil,
	"MessagingService/ExportMyData":         nil,
	"MessagingService/GetConversation":      nil,
	"MessagingService/GetDraft":             nil,
	"MessagingService/GetExpectedDelay":     nil,
	"MessagingService/GetPreferences":       nil,
	"MessagingService/HideConversation":     nil,
	"MessagingService/ListConversations":    nil,
	"MessagingService/ListDrafts":           nil,
	"MessagingService/MarkConversationRead": nil,
	"MessagingService/PostFollowUp":         nil,
	"MessagingService/ReplacePreferences":   nil,
	"MessagingService/SaveDraft":            nil,
	"MessagingService/ShowConversation":     nil,
	"MessagingService/SubmitMessage":        nil,
	"MessagingService/UpdatePreferences":    nil,
	"MessagingService/WatchConversations":   nil,

	"RecipientService/BatchGetRecipients": nil,
	"RecipientService/CheckReader":        nil,

	"EventLogService/ListDigests": nil,
	"EventLogService/ListEvents":  nil,

	"OperatorService/DropRefusedEvent":     nil,
	"OperatorService/GetKeys":              nil,
	"OperatorService/GetStatus":            nil,
	"OperatorService/ListRefusedEvents":    nil,
	"OperatorService/ReconcileKeys":        nil,
	"OperatorService/RequeueRefusedEvents": nil,
	"OperatorService/RewrapKeys":           nil,
}

// seldom are the methods that a conversation which has just come allows nobody, or that need
// something else than what the test gives.
var seldom = []string{"AgentService/GetDraft", "AgentService/ReleaseConversation", "MessagingService/GetDraft", "OperatorService/DropRefusedEvent"}

// Every method is called by everybody, about another conversation each time, and everything that
// comes back is searched for the member's name and number.
func TestMember_WhoGetsTheFields(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	conn := s.launch(t)
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	jeanne := s.member(t, "jeanne")
	methods := methodsOf(messagingpb.File_messagerie_messaging_v1_messaging_proto)
	callers := s.everybody(t, methods)
	var table strings.Builder
	out := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(out, "\t"+strings.Join(slices.Sorted(maps.Keys(callers)), "\t"))
	for _, method := range methods {
		name := string(method.Parent().Name()) + "/" + string(method.Name())
		want, known := tellsWhoWrites[name]
		if !known {
			t.Errorf("%s is in no line of the table: say who gets the member's name and number from it", name)
		}
		var got []string
		answered := 0
		fmt.Fprint(out, name)
		for _, who := range slices.Sorted(maps.Keys(callers)) {
			sent := jeanne.submit(t)
			told, err := invoke(callers[who].call(t, uuid.NewString()), conn, method, requests(method, sent))
			fields := 0
			for _, secret := range []string{memberName, memberNumber, normalNumber} {
				if strings.Contains(told, secret) {
					fields++
				}
			}
			outcome := status.Code(err).String()
			if fields > 0 {
				got, outcome = append(got, who), "fields"
			}
			if err == nil || status.Code(err) == codes.Unimplemented {
				answered++
			}
			fmt.Fprint(out, "\t", outcome)
		}
		fmt.Fprintln(out)
		if !slices.Equal(got, want) {
			t.Errorf("%s tells who writes to %q, want %q", name, got, want)
		}
		if answered == 0 && !slices.Contains(seldom, name) {
			t.Errorf("%s has answered nobody: its line shows nothing", name)
		}
	}
	out.Flush()
	t.Log("\n" + table.String())
	if len(methods) != len(tellsWhoWrites) {
		t.Errorf("the table has %d lines for %d methods", len(tellsWhoWrites), len(methods))
	}
}

// everybody are callers of all kinds, by caisse, queue, role and scope.
func (s *stage) everybody(t *testing.T, methods []protoreflect.MethodDescriptor) map[string]caller {
	t.Helper()
	var scopes []string
	for _, method := range methods {
		rule, err := rpc.RuleOf(method)
		if err != nil {
			t.Fatal(err)
		}
		scopes = append(scopes, rule.Scope)
	}
	here, elsewhere := map[string]any{"queues": []string{"famille"}}, map[string]any{"queues": []string{"sante"}}
	abroad, supervisor := map[string]any{"caisse": "msa-35"}, map[string]any{"roles": []string{auth.RoleAgent, auth.RoleSupervisor}}
	machine := func(scopes string, claims ...map[string]any) caller {
		all := map[string]any{"sub": "crm", "client_id": "crm", "caisse": "msa-75", "queues": []string{"famille"}, "roles": []string{auth.RoleAgent}, "scope": scopes}
		return caller{s, s.machines.Token(t, merged(all, claims))}
	}
	anybody := map[string]any{"name": "Paul Autre", "member_number": "B7-310-228", "email": "paul@exemple.fr", "phone_number": "+33639980002"}
	return map[string]caller{
		"the member":                         s.member(t, "jeanne"),
		"another member":                     s.member(t, "paul", anybody),
		"agent":                              s.clerk(t, "claire", here),
		"agent of another queue":             s.clerk(t, "nadia", elsewhere),
		"agent of another fund":              s.clerk(t, "anne", abroad),
		"agent with member.read":             s.clerk(t, "marie", here, mayFind),
		"agent with member.read, of another": s.clerk(t, "lucie", elsewhere, mayFind),
		"supervisor":                         s.clerk(t, "sofiane", supervisor),
		"supervisor of another fund":         s.clerk(t, "agnes", supervisor, abroad),
		"operator":                           s.clerk(t, "olga", map[string]any{"roles": []string{auth.RoleOperator}}),
		"machine":                            machine(strings.Join(scopes, " ")),
		"machine of another queue":           machine(strings.Join(scopes, " "), elsewhere),
		"machine without scopes":             machine("openid"),
		"notifier":                           s.machine(t),
	}
}

func methodsOf(file protoreflect.FileDescriptor) (all []protoreflect.MethodDescriptor) {
	for i := range file.Services().Len() {
		methods := file.Services().Get(i).Methods()
		for j := range methods.Len() {
			all = append(all, methods.Get(j))
		}
	}
	return all
}

// requests are what a method is asked about a conversation: one request, or one for each of the
// ways in which it may be asked.
func requests(method protoreflect.MethodDescriptor, about *messagingpb.Conversation) []proto.Message {
	if method.Input().FullName() == (&findRequest{}).ProtoReflect().Descriptor().FullName() {
		return []proto.Message{&findRequest{Reference: about.GetReference()}, &findRequest{MemberNumber: memberNumber}, &findRequest{ConversationId: about.GetId()}}
	}
	typ, err := protoregistry.GlobalTypes.FindMessageByName(method.Input().FullName())
	if err != nil {
		return nil
	}
	req := typ.New()
	fillIn(req, about)
	return []proto.Message{req.Interface()}
}

// fillIn sets the fields of a request that say what it is about, by their names.
func fillIn(req protoreflect.Message, about *messagingpb.Conversation) {
	values := map[protoreflect.Name]protoreflect.Value{
		"confirm": protoreflect.ValueOfBool(true), "final": protoreflect.ValueOfBool(true), "taxonomy_version": protoreflect.ValueOfInt32(1),
		"audience": protoreflect.ValueOfEnum(about.GetAudience().Number()), "all": protoreflect.ValueOfBool(true),
		"from": protoreflect.ValueOfMessage(about.GetCreateTime().ProtoReflect()), "before": protoreflect.ValueOfMessage(timestamppb.New(about.GetCreateTime().AsTime().Add(time.Minute)).ProtoReflect()),
	}
	for name, text := range map[protoreflect.Name]string{
		"id": about.GetId(), "conversation_id": about.GetId(), "conversation_ids": about.GetId(),
		"message_id": about.GetMessages()[0].GetId(), "last_message_id": about.GetMessages()[0].GetId(),
		"theme": about.GetTheme().GetCode(), "topic": about.GetTopic().GetCode(), "reason": about.GetReason().GetCode(), "queue": about.GetQueue().GetCode(),
		"text": agentText, "note": agentText, "title": "Un titre", "locale": "fr", "member": "member:jeanne", "agent_id": "agent:claire", "types": "message-submitted",
	} {
		values[name] = protoreflect.ValueOfString(text)
	}
	fields := req.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		value, named := values[field.Name()]
		switch {
		case field.ContainingOneof() != nil && req.WhichOneof(field.ContainingOneof()) != nil:
		case field.Message() != nil && strings.HasPrefix(string(field.Message().FullName()), "messagerie.") && !field.IsList():
			fillIn(req.Mutable(field).Message(), about)
		case named && field.IsList():
			if _, isText := value.Interface().(string); isText && field.Kind() == protoreflect.StringKind {
				req.Mutable(field).List().Append(value)
			}
		case named:
			req.Set(field, value)
		}
	}
}

// invoke makes calls and returns all that they answer, errors as well, and the last error. Of a
// stream that does not end it is the first answer.
func invoke(ctx context.Context, conn *grpc.ClientConn, method protoreflect.MethodDescriptor, reqs []proto.Message) (told string, err error) {
	typ, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		return "", err
	}
	path := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	var all strings.Builder
	add := func(m proto.Message) { all.WriteString(protojson.Format(m)) }
	for _, req := range reqs {
		if method.IsStreamingServer() {
			err = follow(ctx, conn, path, req, typ, add)
		} else {
			resp := typ.New().Interface()
			err = conn.Invoke(ctx, path, req, resp)
			add(resp)
		}
		add(status.Convert(err).Proto())
	}
	return all.String(), err
}

func follow(ctx context.Context, conn *grpc.ClientConn, path string, req proto.Message, typ protoreflect.MessageType, add func(proto.Message)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if err == nil {
		err = stream.SendMsg(req)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	for err == nil {
		resp := typ.New().Interface()
		if err = stream.RecvMsg(resp); err == nil {
			add(resp)
			if strings.HasSuffix(path, "WatchConversations") {
				return nil
			}
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
