package openapi

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// conflicts are the methods that the state of a resource can forbid (409), beside those with
// an idempotency key.
var conflicts = methodSet(
	messagingpb.AgentService_ClaimConversation_FullMethodName,
	messagingpb.AgentService_ReleaseConversation_FullMethodName,
	messagingpb.AgentService_CloseConversation_FullMethodName,
	messagingpb.AgentService_TransferConversation_FullMethodName,
	messagingpb.AgentService_RecategoriseConversation_FullMethodName,
	messagingpb.AgentService_ReopenConversation_FullMethodName,
	messagingpb.AgentService_HoldConversation_FullMethodName,
	messagingpb.AgentService_SaveDraft_FullMethodName,
	messagingpb.AgentService_SaveTemplate_FullMethodName,
)

// drafting are the methods that take If-None-Match, so as to replace nothing. The conversation
// that a draft is of has to be there (404).
var drafting = methodSet(
	messagingpb.MessagingService_SaveDraft_FullMethodName,
	messagingpb.AgentService_SaveDraft_FullMethodName,
)

// tagged are the methods whose answers have an ETag: a GET takes If-None-Match.
var tagged = methodSet(
	taxonomypb.TaxonomyService_GetTaxonomy_FullMethodName,
	messagingpb.MessagingService_GetConversation_FullMethodName,
	messagingpb.MessagingService_PostFollowUp_FullMethodName,
	messagingpb.MessagingService_GetDraft_FullMethodName,
	messagingpb.MessagingService_SaveDraft_FullMethodName,
	messagingpb.AgentService_GetConversation_FullMethodName,
	messagingpb.AgentService_PostReply_FullMethodName,
	messagingpb.AgentService_AddNote_FullMethodName,
	messagingpb.AgentService_GetDraft_FullMethodName,
	messagingpb.AgentService_SaveDraft_FullMethodName,
	messagingpb.AgentService_ClaimConversation_FullMethodName,
	messagingpb.AgentService_ReleaseConversation_FullMethodName,
	messagingpb.AgentService_CloseConversation_FullMethodName,
	messagingpb.AgentService_TransferConversation_FullMethodName,
	messagingpb.AgentService_RecategoriseConversation_FullMethodName,
	messagingpb.AgentService_ReopenConversation_FullMethodName,
	messagingpb.AgentService_HoldConversation_FullMethodName,
	messagingpb.AgentService_UnholdConversation_FullMethodName,
)

// guarded are the methods that take If-Match, the ETag of what the caller has seen.
var guarded = methodSet(
	messagingpb.MessagingService_PostFollowUp_FullMethodName,
	messagingpb.MessagingService_SaveDraft_FullMethodName,
	messagingpb.MessagingService_DeleteDraft_FullMethodName,
	messagingpb.AgentService_SaveDraft_FullMethodName,
	messagingpb.AgentService_DeleteDraft_FullMethodName,
	messagingpb.AgentService_PostReply_FullMethodName,
	messagingpb.AgentService_ClaimConversation_FullMethodName,
	messagingpb.AgentService_ReleaseConversation_FullMethodName,
	messagingpb.AgentService_CloseConversation_FullMethodName,
	messagingpb.AgentService_TransferConversation_FullMethodName,
	messagingpb.AgentService_RecategoriseConversation_FullMethodName,
	messagingpb.AgentService_ReopenConversation_FullMethodName,
	messagingpb.AgentService_HoldConversation_FullMethodName,
	messagingpb.AgentService_UnholdConversation_FullMethodName,
)

// part is a member of the one document that a finite stream makes.
type part struct {
	// piece is the field of the answer, name the document's member.
	piece protoreflect.Name
	name  string
	many  bool
}

// documents are those of such streams, with the names of their schemas.
var documents = map[string]struct {
	name  string
	parts []part
}{
	messagingpb.MessagingService_ExportMyData_FullMethodName: {"messagerie.messaging.v1.MyData", []part{
		{"preferences", "preferences", false},
		{"draft", "drafts", true},
		{"conversation", "conversations", true},
	}},
}

func methodSet(methods ...string) map[string]bool {
	set := make(map[string]bool)
	for _, method := range methods {
		set[method] = true
	}
	return set
}

// operation is one method of REST.
type operation struct {
	doc  *document
	desc protoreflect.MethodDescriptor
	rpc.Rule
	// method is the full name as gRPC writes it.
	method     string
	verb, path string
	hasBody    bool
	// also: it is not the first form of the method.
	also bool
	// inPath are the names of the parameters in the path.
	inPath []string
}

// operations reads a method's forms in REST, none if it has none.
func (d *document) operations(desc protoreflect.MethodDescriptor) (ops []*operation, err error) {
	rule, _ := proto.GetExtension(desc.Options(), annotations.E_Http).(*annotations.HttpRule)
	access, err := rpc.RuleOf(desc)
	if err != nil {
		return nil, err
	}
	if rule == nil || access.Access == accesspb.Access_ACCESS_SERVICE {
		return nil, nil
	}
	for i, form := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		op := &operation{doc: d, desc: desc, Rule: access, also: i > 0}
		if err := op.read(form); err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// read takes in one form.
func (op *operation) read(rule *annotations.HttpRule) error {
	desc := op.desc
	op.hasBody = rule.GetBody() == "*"
	op.method = fmt.Sprintf("/%s/%s", desc.Parent().FullName(), desc.Name())
	switch pattern := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		op.verb, op.path = "get", pattern.Get
	case *annotations.HttpRule_Post:
		op.verb, op.path = "post", pattern.Post
	case *annotations.HttpRule_Put:
		op.verb, op.path = "put", pattern.Put
	case *annotations.HttpRule_Patch:
		op.verb, op.path = "patch", pattern.Patch
	case *annotations.HttpRule_Delete:
		op.verb, op.path = "delete", pattern.Delete
	default:
		return fmt.Errorf("method %s: REST verb %T is not supported", desc.FullName(), pattern)
	}
	for i := range desc.Input().Fields().Len() {
		field := desc.Input().Fields().Get(i)
		if name := "{" + string(field.Name()) + "}"; strings.Contains(op.path, name) {
			op.inPath = append(op.inPath, string(field.Name()))
		}
	}
	return nil
}

func (op *operation) describe() object {
	summary, description := op.words()
	described := object{
		{"operationId", op.id()},
		{"tags", []string{op.doc.tag(op.desc.Parent().(protoreflect.ServiceDescriptor))}}, //nolint:forcetypeassert // methods are in services
		{"summary", summary},
		{"description", description},
		{"x-access", strings.TrimPrefix(op.Access.String(), "ACCESS_")},
		{"x-scope", op.Scope},
		{"x-idempotency", strings.TrimPrefix(op.Idempotency.String(), "IDEMPOTENCY_")},
	}
	security := []object{}
	if op.Access != accesspb.Access_ACCESS_PUBLIC {
		security = signedIn(op.Access)
	}
	if op.Ticket { // a ticket may take the place of a token
		security = append(security, object{})
	}
	described = append(described, member{"security", security})
	if parameters := op.parameters(); len(parameters) > 0 {
		described = append(described, member{"parameters", parameters})
	}
	if op.hasBody {
		described = append(described, member{"requestBody", op.body()})
	}
	return append(described, member{"responses", op.responses()})
}

// words are the first sentence of a method's comment without its name, and all of it.
func (op *operation) words() (summary, description string) {
	description = upperFirst(strings.TrimPrefix(commentOf(op.desc), string(op.desc.Name())+" "))
	first, _, _ := strings.Cut(description, "\n")
	summary, _, _ = strings.Cut(first, ". ")
	summary, _, _ = strings.Cut(summary, ": ")
	return strings.TrimSuffix(summary, "."), description
}

// operationID names a method for generated clients: getConversation for members,
// agentGetConversation, messagingOperatorGetStatus.
func operationID(method string) string {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	switch service[strings.LastIndex(service, ".")+1:] {
	case "AgentService":
		return "agent" + name
	case "OperatorService": // there is one of each package
		return strings.Split(service, ".")[1] + "Operator" + name
	}
	return strings.ToLower(name[:1]) + name[1:]
}

// id names the operation; other forms than the first have their verb before it: the client of
// a language cannot have two of one name.
func (op *operation) id() string {
	id := operationID(op.method)
	if op.also {
		return op.verb + upperFirst(id)
	}
	return id
}

func (op *operation) parameters() []object {
	var list []object
	fields := op.desc.Input().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		inPath := slices.Contains(op.inPath, string(field.Name()))
		if op.hasBody && !inPath {
			continue
		}
		parameter := object{{"name", field.JSONName()}, {"in", "query"}}
		if inPath {
			parameter = object{{"name", string(field.Name())}, {"in", "path"}}
		}
		if inPath || needed(field) {
			parameter = append(parameter, member{"required", true})
		}
		parameter = append(parameter, member{"description", commentOf(field)}, member{"schema", op.doc.fieldSchema(field, request)})
		if example, ok := op.sampler(request).field(field); ok {
			parameter = append(parameter, member{"example", example})
		}
		list = append(list, parameter)
	}
	if op.Idempotency == accesspb.Idempotency_IDEMPOTENCY_KEYED {
		list = append(list, object{
			{"name", "Idempotency-Key"},
			{"in", "header"},
			{"required", true},
			{"description", "A UUID of the caller's choice, the same for every retry of the same call. It belongs to its caller and operation. With other content: 409."},
			{"schema", object{{"type", "string"}, {"format", "uuid"}}},
			{"example", sampleID},
		})
	}
	if tagged[op.method] && op.verb == "get" {
		list = append(list, conditionalHeader("If-None-Match", "The ETag of an answer that the caller has. 304 if it has not changed."))
	}
	if guarded[op.method] {
		list = append(list, conditionalHeader("If-Match", "The ETag of what the caller has seen. 412 if it has changed since."))
	}
	if drafting[op.method] {
		list = append(list, object{
			{"name", "If-None-Match"},
			{"in", "header"},
			{"description", "`*`: only if there is none yet. 412 if there is one, or if its ETag is among those named."},
			{"schema", object{{"type", "string"}}},
			{"example", "*"},
		})
	}
	if op.Ticket {
		list = append(list, object{
			{"name", "ticket"},
			{"in", "query"},
			{"description", "A ticket of createWatchTicket, in place of a token. Together with a token it is refused (CREDENTIALS_AMBIGUOUS), and stays good."},
			{"schema", object{{"type", "string"}}},
		})
	}
	if op.endless() {
		list = append(list, object{
			{"name", "Last-Event-ID"},
			{"in", "header"},
			{"description", "The id of the last event of an earlier stream. An EventSource sends it by itself."},
			{"schema", object{{"type", "string"}}},
			{"example", "42"},
		})
	}
	return list
}

func conditionalHeader(name, description string) object {
	return object{
		{"name", name},
		{"in", "header"},
		{"description", description},
		{"schema", object{{"type", "string"}}},
		{"example", sampleTag},
	}
}

func (op *operation) endless() bool {
	endless, _ := proto.GetExtension(op.desc.Options(), accesspb.E_Endless).(bool)
	return endless
}

// body is a request's. One without required members may be left out.
func (op *operation) body() object {
	schema := op.doc.bodySchema(op.desc.Input(), op.inPath)
	example := op.sampler(request).message(op.desc.Input(), op.inPath)
	return object{
		{"required", op.doc.schemas[schema].get("required") != nil},
		{"content", object{{"application/json", object{{"schema", reference("schemas", schema)}, {"example", example}}}}},
	}
}

func (op *operation) responses() object {
	described := object{{"200", op.success()}}
	for _, status := range op.statuses() {
		op.doc.statuses[status] = true
		described = append(described, member{fmt.Sprint(status), reference("responses", nameOf(status))})
	}
	return described
}

// statuses are those that a method may answer with, but for 200, in order.
func (op *operation) statuses() []int {
	list := []int{400, 429, 500, 503, 504}
	add := func(when bool, statuses ...int) {
		if when {
			list = append(list, statuses...)
		}
	}
	add(tagged[op.method] && op.verb == "get", 304)
	add(op.Access != accesspb.Access_ACCESS_PUBLIC, 401, 403)
	// PUT creates what is not there yet, and for DELETE the work is done already.
	add(len(op.inPath) > 0 && op.verb != "put" && op.verb != "delete" || drafting[op.method], 404)
	add(op.desc.IsStreamingServer(), 406)
	add(op.Idempotency == accesspb.Idempotency_IDEMPOTENCY_KEYED || conflicts[op.method], 409)
	add(guarded[op.method], 412)
	add(op.hasBody, 413, 415)
	slices.Sort(list)
	return list
}

func (op *operation) success() object {
	described := everyAnswer()
	if op.Idempotency == accesspb.Idempotency_IDEMPOTENCY_KEYED {
		described = append(described, member{"Idempotent-Replayed", reference("headers", "Idempotent-Replayed")})
	}
	if tagged[op.method] {
		described = append(described, member{"ETag", reference("headers", "ETag")})
	}
	words, content := upperFirst(strings.TrimPrefix(commentOf(op.desc.Output()), string(op.desc.Output().Name())+" is ")), object{}
	document, isDocument := documents[op.method]
	var schema object
	if !isDocument {
		schema = reference("schemas", op.doc.messageSchema(op.desc.Output(), answer))
	}
	example := op.sampler(answer).message(op.desc.Output(), nil)
	switch {
	case op.endless():
		words += " Each is an event; the schema is that of an event's data, or of a line. " +
			"The first asks the client to read again, so that a cut loses nothing. Comments and empty lines only show that the stream is alive. " +
			"Where the stream breaks off, the last event has the type error and a google.rpc.Status as its data, and the last line is {\"error\": google.rpc.Status}."
		content = append(content, member{"text/event-stream", object{{"schema", schema}}})
	case isDocument:
		words = "One JSON document; it is incomplete if the answer breaks off. As application/x-ndjson each line is one piece of it, a " + string(op.desc.Output().Name()) + "; " +
			"if those break off, the last line is {\"error\": google.rpc.Status}."
		name := op.documentSchema(document.name, document.parts)
		content = append(content, member{"application/json", object{{"schema", reference("schemas", name)}, {"example", op.sampleDocument(document.parts)}}})
	case !op.desc.IsStreamingServer():
		content = append(content, member{"application/json", object{{"schema", schema}, {"example", example}}})
	}
	// A client that is generated from two schemas takes a document for one or the other.
	if op.desc.IsStreamingServer() && !isDocument {
		content = append(content, member{"application/x-ndjson", object{{"schema", schema}, {"example", example}}})
	}
	return object{{"description", words}, {"headers", described}, {"content", content}}
}

// documentSchema adds the schema of a document and returns its name.
func (op *operation) documentSchema(name string, parts []part) string {
	var properties object
	var names []string
	for _, part := range parts {
		schema := reference("schemas", op.doc.messageSchema(op.piece(part).Message(), answer))
		if part.many {
			schema = object{{"type", "array"}, {"items", schema}}
		}
		properties = append(properties, member{part.name, schema})
		names = append(names, part.name)
	}
	op.doc.schemas[name] = object{
		{"type", "object"},
		{"description", "All that is stored, by kind: what the lines of application/x-ndjson have one by one."},
		{"properties", properties},
		{"required", names},
	}
	return name
}

func (op *operation) sampleDocument(parts []part) object {
	var sample object
	for _, part := range parts {
		var value any = op.sampler(answer).message(op.piece(part).Message(), nil)
		if part.many {
			value = []any{value}
		}
		sample = append(sample, member{part.name, value})
	}
	return sample
}

func (op *operation) piece(part part) protoreflect.FieldDescriptor {
	return op.desc.Output().Fields().ByName(part.piece)
}
