package stack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/dev/journey"
	"github.com/ma-messagerie/messagerie/dev/stack"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	inputpb "github.com/ma-messagerie/messagerie/proto/messagerie/input/v1"
)

// Strings that no code, id, filter or page token may hold.
var controls = []string{"\x00", "\n", "\x1b", "\x7f", "\u0085", "\u2028", "\u202e", "\u2069"}

// TestInput sends each of these in every string of every method, over gRPC and REST,
// and wants the fault told, never a fault of ours. Methods and fields come from the
// descriptors, so that a new one is covered by itself.
func TestInput(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	in := newIntruder(t, s)
	codeFields, texts, moments := 0, 0, 0
	for _, m := range in.methods {
		for _, f := range fieldsOf(m.desc.Input(), nil) {
			last := f[len(f)-1]
			switch {
			case last.Kind() == protoreflect.StringKind && isFreeText(last):
				texts++
				in.sendText(t, m, f)
			case last.Kind() == protoreflect.StringKind:
				codeFields++
				in.sendCode(t, m, f)
			case last.Name() == "page_size":
				in.sendPageSize(t, m, f)
			case isMoment(last):
				moments++
				in.sendMoment(t, m, f)
			}
		}
	}
	// Last, since these calls go through and change what they are about.
	for _, m := range in.methods {
		in.sendKeys(t, m)
	}
	if codeFields < 50 || texts < 8 || moments < 5 || len(in.methods) < 40 {
		t.Errorf("tried %d codes, %d texts and %d times of %d methods", codeFields, texts, moments, len(in.methods))
	}
}

// method is one of the system's, with how to call it.
type method struct {
	desc protoreflect.MethodDescriptor
	// conn is the gateway where it forwards the method, else the service.
	conn    *grpc.ClientConn
	persona string
	// verb and path are those of REST; empty where there is none.
	verb, path string
	hasBody    bool
}

func (m *method) String() string { return string(m.desc.FullName()) }

func (m *method) full() string {
	return fmt.Sprintf("/%s/%s", m.desc.Parent().FullName(), m.desc.Name())
}

// intruder calls everything with what does not belong there, and with the right
// tokens, so that it is the input which is looked at.
type intruder struct {
	stack   *stack.Stack
	methods []*method
	tokens  map[string]string
	// conversation is one of jeanne's, and last returns its last message.
	conversation string
	last         func() string
}

// personas are who may call, by access; jeanne is a member, claire an agent with the scope
// member.read, sofiane a supervisor and operator, notifier one of the system's own processes.
var personas = map[accesspb.Access]string{
	accesspb.Access_ACCESS_PUBLIC: "", accesspb.Access_ACCESS_MEMBER: "jeanne", accesspb.Access_ACCESS_AGENT: "claire",
	accesspb.Access_ACCESS_SUPERVISOR: "sofiane", accesspb.Access_ACCESS_OPERATOR: "sofiane", accesspb.Access_ACCESS_SERVICE: "notifier",
	accesspb.Access_ACCESS_MEMBER_OR_AGENT: "jeanne", accesspb.Access_ACCESS_AGENT_WITH_SCOPE: "claire",
}

func newIntruder(t *testing.T, s *stack.Stack) *intruder {
	t.Helper()
	in := &intruder{stack: s, tokens: make(map[string]string), conversation: send(t, as(t, s, "jeanne"), "Bonjour, une question.").ID}
	for _, persona := range personas {
		if persona != "" {
			in.tokens[persona] = as(t, s, persona).Token
		}
	}
	db, err := pgx.Connect(t.Context(), s.DatabaseURL("messaging"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		db.Close(ctx)
	})
	in.last = func() (id string) { // past all limits
		if err := db.QueryRow(t.Context(), `SELECT id::text FROM message WHERE conversation_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1`, in.conversation).Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	dial := func(addr string) *grpc.ClientConn {
		conn, err := rpc.Dial(addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	gateway, inside := dial(s.GRPC), make(map[string]*grpc.ClientConn)
	for _, name := range []string{"taxonomy", "messaging", "notifier"} {
		inside[name] = dial(s.Inside(name))
	}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "messagerie.") {
			return true
		}
		backend := inside[strings.Split(string(file.Package()), ".")[1]]
		for i := range file.Services().Len() {
			for j := range file.Services().Get(i).Methods().Len() {
				m := describe(file.Services().Get(i).Methods().Get(j))
				// The gateway answers for methods that it does not know at once.
				if m.conn = gateway; reasonOf(in.call(t, m, m.conn, nil)) == "METHOD_UNKNOWN" {
					m.conn = backend
				}
				in.methods = append(in.methods, m)
			}
		}
		return true
	})
	return in
}

func describe(desc protoreflect.MethodDescriptor) *method {
	access, _ := proto.GetExtension(desc.Options(), accesspb.E_Access).(accesspb.Access)
	rule, _ := proto.GetExtension(desc.Options(), annotations.E_Http).(*annotations.HttpRule)
	m := &method{desc: desc, persona: personas[access], hasBody: rule.GetBody() == "*"}
	for verb, path := range map[string]string{
		http.MethodGet: rule.GetGet(), http.MethodPost: rule.GetPost(), http.MethodPut: rule.GetPut(), http.MethodDelete: rule.GetDelete(),
	} {
		if path != "" {
			m.verb, m.path = verb, path
		}
	}
	return m
}

func isFreeText(field protoreflect.FieldDescriptor) bool {
	free, _ := proto.GetExtension(field.Options(), inputpb.E_FreeText).(bool)
	return free
}

func isMoment(field protoreflect.FieldDescriptor) bool {
	return field.Message() != nil && field.Message().FullName() == "google.protobuf.Timestamp"
}

// fieldsOf are the ways to all fields of a message that are no messages, or times.
func fieldsOf(typ protoreflect.MessageDescriptor, before []protoreflect.FieldDescriptor) (all [][]protoreflect.FieldDescriptor) {
	for i := range typ.Fields().Len() {
		field := typ.Fields().Get(i)
		way := append(slices.Clone(before), field)
		switch {
		case field.Message() == nil || isMoment(field):
			all = append(all, way)
		case !strings.HasPrefix(string(field.Message().FullName()), "google."):
			all = append(all, fieldsOf(field.Message(), way)...)
		}
	}
	return all
}

// jsonPath is a way to a field as a violation names it.
func jsonPath(way []protoreflect.FieldDescriptor) string {
	var names []string
	for _, field := range way {
		names = append(names, field.JSONName())
	}
	return strings.Join(names, ".")
}

// request is one of the method's with good values in all fields, but for what is at
// the end of the way.
func (in *intruder) request(m *method, way []protoreflect.FieldDescriptor, value protoreflect.Value) *dynamicpb.Message {
	whole := dynamicpb.NewMessage(m.desc.Input())
	in.fill(whole)
	at := whole.ProtoReflect()
	for _, field := range way[:len(way)-1] {
		at = at.Mutable(field).Message()
	}
	last := way[len(way)-1]
	if last.IsList() {
		list := at.NewField(last).List()
		list.Append(value)
		value = protoreflect.ValueOfList(list)
	}
	at.Set(last, value)
	return whole
}

// good are values for fields that a method looks at, by name.
func (in *intruder) good(field protoreflect.FieldDescriptor) (string, bool) {
	if field.Name() == "last_message_id" {
		return in.last(), true
	}
	value, ok := map[protoreflect.Name]string{
		"id": in.conversation, "conversation_id": in.conversation, "conversation_ids": in.conversation,
		"theme": selection.Theme, "topic": selection.Topic, "reason": selection.Reason,
		"text": "Bonjour, une question.", "agent_id": "agent:nobody", "queue": "prestations-familiales", "title": "Bonjour", "q": "paiement", "locale": "fr", "types": "message-submitted",
	}[field.Name()]
	return value, ok
}

func (in *intruder) fill(msg protoreflect.Message) {
	for i := range msg.Descriptor().Fields().Len() {
		field := msg.Descriptor().Fields().Get(i)
		text, known := in.good(field)
		switch {
		case known && field.Kind() == protoreflect.StringKind && field.IsList():
			msg.Mutable(field).List().Append(protoreflect.ValueOfString(text))
		case known && field.Kind() == protoreflect.StringKind:
			msg.Set(field, protoreflect.ValueOfString(text))
		case field.Kind() == protoreflect.EnumKind && !field.IsList():
			msg.Set(field, protoreflect.ValueOfEnum(1))
		case field.Name() == "taxonomy_version":
			msg.Set(field, protoreflect.ValueOfInt32(current))
		case isMoment(field):
			at := msg.Mutable(field).Message()
			moment := time.Now()
			if field.Name() == "since" { // before until
				moment = moment.Add(-time.Hour)
			}
			at.Set(at.Descriptor().Fields().ByName("seconds"), protoreflect.ValueOfInt64(moment.Unix()))
		}
	}
}

// sendCode sends what a code may not hold and wants the field named.
func (in *intruder) sendCode(t *testing.T, m *method, way []protoreflect.FieldDescriptor) {
	t.Helper()
	want := jsonPath(way) + " CONTROL_CHARACTERS"
	for _, control := range controls {
		req := in.request(m, way, protoreflect.ValueOfString("a"+control+"b"))
		if err := in.call(t, m, m.conn, req); status.Code(err) != codes.InvalidArgument || violationOf(err) != want {
			t.Errorf("%s, %+q in %s: %v, violation %q", m, control, jsonPath(way), err, violationOf(err))
		}
		if m.path == "" {
			continue
		}
		if got := in.rest(t, m, req); got.Status != http.StatusBadRequest || got.Problem().Violation() != want {
			t.Errorf("%s %s, %+q in %s: %d %s", m.verb, m.path, control, jsonPath(way), got.Status, got.Body)
		}
	}
	in.sendBroken(t, m, way)
}

// sendText sends it in free text, which is cleaned, kept, or refused by its name.
func (in *intruder) sendText(t *testing.T, m *method, way []protoreflect.FieldDescriptor) {
	t.Helper()
	for _, control := range controls {
		req := in.request(m, way, protoreflect.ValueOfString("Bonjour, "+control+" une question."))
		err := in.call(t, m, m.conn, req)
		if named := strings.HasPrefix(violationOf(err), jsonPath(way)+" "); err != nil && !tooLate(reasonOf(err)) && (status.Code(err) != codes.InvalidArgument || !named) {
			t.Errorf("%s, %+q in %s: %v, violation %q", m, control, jsonPath(way), err, violationOf(err))
		}
		if m.path == "" {
			continue
		}
		if got := in.rest(t, m, req); got.Status != http.StatusOK && !tooLate(got.Problem().Reason()) && (got.Status != http.StatusBadRequest || !strings.HasPrefix(got.Problem().Violation(), jsonPath(way)+" ")) {
			t.Errorf("%s %s, %+q in %s: %d %s", m.verb, m.path, control, jsonPath(way), got.Status, got.Body)
		}
	}
	in.sendBroken(t, m, way)
}

// tooLate reports whether the text was taken, and the call refused for what an earlier one has
// done to the conversation, or for a colleague whom there is not.
func tooLate(reason string) bool {
	return slices.Contains([]string{"CONVERSATION_CLOSED", "CLAIM_HELD", "CLAIM_NOT_HELD", "AGENT_UNKNOWN", "ALREADY_ANSWERED"}, reason)
}

// sendBroken sends a string that is not UTF-8, which only gRPC could carry.
func (in *intruder) sendBroken(t *testing.T, m *method, way []protoreflect.FieldDescriptor) {
	t.Helper()
	const placeholder = "PLACEHOLDER"
	raw, err := proto.Marshal(in.request(m, way, protoreflect.ValueOfString(placeholder)))
	if err != nil {
		t.Fatal(err)
	}
	broken := []byte(strings.Replace(string(raw), placeholder, "\xffLACEHOLDER", 1))
	if err := in.call(t, m, m.conn, broken); status.Code(err) != codes.InvalidArgument || reasonOf(err) != "REQUEST_MALFORMED" {
		t.Errorf("%s, invalid UTF-8 in %s: %v", m, jsonPath(way), err)
	}
}

// sendPageSize wants a negative page refused, and one that is too long cut.
func (in *intruder) sendPageSize(t *testing.T, m *method, way []protoreflect.FieldDescriptor) {
	t.Helper()
	negative, large := in.request(m, way, protoreflect.ValueOfInt32(-1)), in.request(m, way, protoreflect.ValueOfInt32(math.MaxInt32))
	if err := in.call(t, m, m.conn, negative); status.Code(err) != codes.InvalidArgument || violationOf(err) != "pageSize OUT_OF_RANGE" {
		t.Errorf("%s of -1: %v", m, err)
	}
	if err := in.call(t, m, m.conn, large); err != nil {
		t.Errorf("%s of 2^31-1: %v", m, err)
	}
	if m.path == "" {
		return
	}
	if got := in.rest(t, m, negative); got.Status != http.StatusBadRequest || got.Problem().Violation() != "pageSize OUT_OF_RANGE" {
		t.Errorf("%s of -1: %d %s", m.path, got.Status, got.Body)
	}
	if got := in.rest(t, m, large); got.Status != http.StatusOK {
		t.Errorf("%s of 2^31-1: %d %s", m.path, got.Status, got.Body)
	}
}

// sendMoment sends times that are none, which only gRPC can carry, and the first and the
// last that are.
func (in *intruder) sendMoment(t *testing.T, m *method, way []protoreflect.FieldDescriptor) {
	t.Helper()
	typ := way[len(way)-1].Message()
	at := func(seconds int64, nanos int32) *dynamicpb.Message {
		moment := dynamicpb.NewMessage(typ)
		moment.Set(typ.Fields().ByName("seconds"), protoreflect.ValueOfInt64(seconds))
		moment.Set(typ.Fields().ByName("nanos"), protoreflect.ValueOfInt32(nanos))
		return in.request(m, way, protoreflect.ValueOfMessage(moment))
	}
	want := jsonPath(way) + " TIMESTAMP_INVALID"
	for _, req := range []*dynamicpb.Message{at(math.MaxInt64, 0), at(math.MinInt64, 0), at(253402300800, 0), at(0, -1)} {
		if err := in.call(t, m, m.conn, req); status.Code(err) != codes.InvalidArgument || violationOf(err) != want {
			t.Errorf("%s, %s that is no time: %v, violation %q", m, jsonPath(way), err, violationOf(err))
		}
	}
	for _, req := range []*dynamicpb.Message{at(-62135596800, 0), at(253402300799, 999999999)} {
		if err := in.call(t, m, m.conn, req); err != nil && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s, %s at the edge of time: %v", m, jsonPath(way), err)
		}
		if m.path == "" {
			continue
		}
		if got := in.rest(t, m, req); got.Status >= http.StatusInternalServerError {
			t.Errorf("%s, %s at the edge of time: %d %s", m.path, jsonPath(way), got.Status, got.Body)
		}
	}
}

// sendKeys sends metadata that cannot be what it is to be.
func (in *intruder) sendKeys(t *testing.T, m *method) {
	t.Helper()
	if m.path == "" || m.desc.IsStreamingServer() || m.desc.Name() == "EraseMyData" {
		return
	}
	req := dynamicpb.NewMessage(m.desc.Input())
	in.fill(req)
	for _, value := range []string{"\u0085", "\xff", "a\tb", "é", strings.Repeat("x", 1000)} {
		got := in.rest(t, m, req, "Idempotency-Key", value, "Accept-Language", value, "Traceparent", value)
		if got.Status >= http.StatusInternalServerError {
			t.Errorf("%s %s, %+q in headers: %d %s", m.verb, m.path, value, got.Status, got.Body)
		}
	}
}

// either sends bytes as they are, and messages as protobuf.
type either struct{ encoding.CodecV2 }

func (c either) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// call calls a method, with an empty request when req is nil. Of a stream it waits for
// the first answer.
func (in *intruder) call(t *testing.T, m *method, conn *grpc.ClientConn, req any) error {
	t.Helper()
	if req == nil {
		req = []byte{}
	}
	codec := grpc.ForceCodecV2(either{encoding.GetCodecV2(protocodec.Name)})
	var err error
	in.patiently(t, func() time.Duration {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", uuid.NewString())
		if m.persona != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+in.tokens[m.persona])
		}
		if !m.desc.IsStreamingServer() {
			err = conn.Invoke(ctx, m.full(), req, new(emptypb.Empty), codec)
			return retryOf(err)
		}
		err = firstAnswer(ctx, conn, m.full(), req, codec)
		return retryOf(err)
	})
	return err
}

func firstAnswer(ctx context.Context, conn *grpc.ClientConn, method string, req any, opts ...grpc.CallOption) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, opts...)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(new(emptypb.Empty))
}

// patiently repeats a call that the gateway's rate limit has put off.
func (in *intruder) patiently(t *testing.T, call func() time.Duration) {
	t.Helper()
	for range 100 {
		wait := call()
		if wait == 0 {
			return
		}
		<-time.After(wait)
	}
	t.Fatal("the rate limit lets nothing through")
}

func retryOf(err error) time.Duration {
	if status.Code(err) != codes.ResourceExhausted {
		return 0
	}
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return max(info.GetRetryDelay().AsDuration(), time.Millisecond)
		}
	}
	return 0
}

var parameter = regexp.MustCompile(`\{(\w+)\}`)

// rest sends the same request by REST: fields of the path there, the others in the
// body or the query.
func (in *intruder) rest(t *testing.T, m *method, req *dynamicpb.Message, header ...string) journey.Answer {
	t.Helper()
	rest, _ := proto.Clone(req).(*dynamicpb.Message)
	path := parameter.ReplaceAllStringFunc(m.path, func(in string) string {
		field := m.desc.Input().Fields().ByName(protoreflect.Name(strings.Trim(in, "{}")))
		value := rest.Get(field).String()
		rest.Clear(field)
		return url.PathEscape(value)
	})
	var body any
	if m.hasBody {
		raw, err := protojson.Marshal(rest)
		if err != nil {
			t.Fatal(err)
		}
		body = raw
	} else if query := queryOf(rest); query != "" {
		path += "?" + query
	}
	if len(header) == 0 {
		header = []string{"Idempotency-Key", uuid.NewString()}
	}
	var answer journey.Answer
	in.patiently(t, func() time.Duration {
		answer = do(t, journey.Client{Base: in.stack.Places().Gateway, Token: in.tokens[m.persona]}, m.verb, path, body, header...)
		if answer.Status == http.StatusTooManyRequests {
			return 50 * time.Millisecond
		}
		return 0
	})
	return answer
}

// queryOf writes the fields that are set as parameters. No method has lists or
// messages there but of enums, which are not looked at.
func queryOf(msg protoreflect.Message) string {
	values := make(url.Values)
	msg.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsList() || field.Message() != nil:
		case field.Enum() != nil:
			values.Set(field.JSONName(), string(field.Enum().Values().ByNumber(value.Enum()).Name()))
		default:
			values.Set(field.JSONName(), value.String())
		}
		return true
	})
	return values.Encode()
}

// violationOf is "field REASON" of an error's first faulty field, or empty.
func violationOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			return bad.GetFieldViolations()[0].GetField() + " " + bad.GetFieldViolations()[0].GetReason()
		}
	}
	return ""
}

func reasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}
