package openapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

const (
	statusSchema = "google.rpc.Status"
	reasonSchema = "messagerie.error.v1.ErrorReason"
	reasonWords  = "Stable, for programs to compare; docs/errors.md says when each comes and what to do. New ones may be added: have a case for those that you do not know."
)

// reasonNames are those that keep says, in the order of the .proto.
func reasonNames(keep func(*errorpb.Meaning, errorpb.ErrorReason) bool) (names []string) {
	values := errorpb.ErrorReason(0).Descriptor().Values()
	for i := range values.Len() {
		reason := errorpb.ErrorReason(values.Get(i).Number())
		if meaning := rpc.MeaningOf(reason); meaning != nil && keep(meaning, reason) {
			names = append(names, reason.String())
		}
	}
	return names
}

// reasonsOf are those that a status of REST can have.
func reasonsOf(httpStatus int) []string {
	return reasonNames(func(meaning *errorpb.Meaning, reason errorpb.ErrorReason) bool {
		for _, name := range meaning.GetCodes() {
			var code codes.Code
			if code.UnmarshalJSON([]byte(strconv.Quote(name))) == nil && rpc.HTTPStatus(code, reason) == httpStatus {
				return true
			}
		}
		return false
	})
}

// refusal is what a status says of a call that was not made.
type refusal struct {
	status      int
	code        codes.Code
	description string
	// reason, message and field are of the example; without a field there is no violation.
	reason, message, field string
	headers                []string
}

var refusals = []refusal{
	{400, codes.InvalidArgument, "The request is not what the operation takes.", "BODY_TOO_SHORT", "text: the text has fewer than 10 characters", "text", nil},
	{401, codes.Unauthenticated, "There is no bearer token, or it is not valid here.", "TOKEN_REQUIRED", "this method needs a bearer token in the metadata authorization", "", []string{"WWW-Authenticate"}},
	{403, codes.PermissionDenied, "The operation is not for this caller.", "ACCESS_DENIED", "this method is not for this kind of caller", "", nil},
	{404, codes.NotFound, "There is no such resource, or the caller may not see it.", "CONVERSATION_NOT_FOUND", "no such conversation", "", nil},
	{406, codes.InvalidArgument, "Accept allows none of the formats on offer.", "NOT_ACCEPTABLE", "this method has none of the formats that Accept takes", "", nil},
	{409, codes.FailedPrecondition, "The state of the resource does not allow it, or the idempotency key was used with other content.", "CONVERSATION_CLOSED", "the conversation is closed", "", nil},
	{412, codes.FailedPrecondition, "It has changed since the ETag in If-Match was given, or is what If-None-Match rules out.", "CONVERSATION_CHANGED", "the conversation is not what If-Match says; read it again", "", nil},
	{413, codes.ResourceExhausted, "The body is larger than 64 KiB.", "REQUEST_TOO_LARGE", "the request is larger than 64 KiB", "", nil},
	{415, codes.InvalidArgument, "The body is not announced as plain JSON in UTF-8.", "MEDIA_TYPE_UNSUPPORTED", "send the body as JSON in UTF-8, not compressed, with the header Content-Type: application/json", "", nil},
	{429, codes.ResourceExhausted, "The caller makes too many calls, or too much of this kind is being read. Nothing was done.", "CALLS_TOO_MANY", "this caller has too many calls under way; wait for their answers", "", []string{"Retry-After"}},
	{500, codes.Internal, "An internal fault. The call may or may not have been carried out.", "INTERNAL", "internal error", "", nil},
	{503, codes.Unavailable, "The system cannot answer for now. The call may or may not have been carried out.", "SERVICE_UNAVAILABLE", "the service behind this method cannot be reached; try again", "", []string{"Retry-After"}},
	{504, codes.DeadlineExceeded, "It took too long. The call may or may not have been carried out.", "DEADLINE_EXCEEDED", "the time given was not enough", "", nil},
}

// nameOf is a status's name among the responses.
func nameOf(status int) string {
	return strings.NewReplacer(" ", "", "-", "").Replace(http.StatusText(status))
}

var headers = object{
	{"ETag", header("Names the answer's content, for conditional requests.", object{{"type", "string"}}, sampleTag)},
	{"Idempotent-Replayed", header("true: the call was made before, and was not carried out again.", object{{"type", "string"}, {"enum", []string{"true"}}}, "true")},
	{"Retry-After", header("After how many seconds to try again.", object{{"type", "integer"}, {"minimum", 1}}, 2)},
	{"RateLimit", header("How many calls the caller has left, and after how many seconds it has all of them again (draft-ietf-httpapi-ratelimit-headers). Absent where there is no limit.", object{{"type", "string"}}, `"caller";r=39;t=1`)},
	{"RateLimit-Policy", header("How many calls a caller may make at once (q), and within how many seconds it gets as many again (w). Absent where there is no limit.", object{{"type", "string"}}, `"caller";q=40;w=2`)},
	{"X-Request-Id", header("The id of the request, to report to the operator: its trace and its span.", object{{"type", "string"}, {"pattern", "^[0-9a-f]{32}-[0-9a-f]{16}$"}}, sampleRequest)},
	{"Content-Language", header("The language of the texts for people, chosen by Accept-Language.", object{{"type", "string"}, {"enum", []string{"fr", "en"}}}, "fr")},
	{"WWW-Authenticate", header("RFC 6750, 3, with where to sign in (RFC 9728).", object{{"type", "string"}}, `Bearer realm="messagerie"`)},
}

// everyAnswer are the headers that all answers have.
func everyAnswer() (list object) {
	for _, name := range []string{"X-Request-Id", "RateLimit", "RateLimit-Policy"} {
		list = append(list, member{name, reference("headers", name)})
	}
	return list
}

func header(description string, schema object, example any) object {
	return object{{"description", description}, {"schema", schema}, {"example", example}}
}

// responses are the answers that are no success, by name.
func (d *document) responses() object {
	list := object{{nameOf(http.StatusNotModified), object{
		{"description", "The caller's copy is up to date."},
		{"headers", append(everyAnswer(), member{"ETag", reference("headers", "ETag")})},
	}}}
	for _, r := range refusals {
		if !d.statuses[r.status] {
			continue
		}
		described := object{{"description", r.description + " Reasons: " + strings.Join(reasonsOf(r.status), ", ") + "."}}
		named := append(everyAnswer(), member{"Content-Language", reference("headers", "Content-Language")})
		for _, name := range r.headers {
			named = append(named, member{name, reference("headers", name)})
		}
		described = append(described, member{"headers", named})
		list = append(list, member{nameOf(r.status), append(described, member{"content", object{{"application/json", object{
			{"schema", reference("schemas", statusSchema)}, {"example", r.example()},
		}}}})})
	}
	return list
}

func (r *refusal) example() object {
	var details []object
	if r.field != "" {
		_, words, _ := strings.Cut(r.message, ": ")
		details = append(details, object{{"@type", typeURL("BadRequest")}, {"fieldViolations", []object{
			{{"field", r.field}, {"reason", r.reason}, {"description", words}},
		}}})
	}
	if r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable {
		details = append(details, object{{"@type", typeURL("RetryInfo")}, {"retryDelay", "2s"}})
	}
	details = append(details, object{{"@type", typeURL("ErrorInfo")}, {"reason", r.reason}, {"domain", "messagerie"}})
	return object{{"code", int(r.code)}, {"message", r.message}, {"details", details}}
}

func typeURL(name string) string { return "type.googleapis.com/" + fullName(name) }

// fullName is the name of a type, which is of google.rpc if it has no package.
func fullName(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return "google.rpc." + name
}

// addStatus adds the schemas of errors. They are written here, because a detail is a
// google.protobuf.Any, whose types no descriptor names.
func (d *document) addStatus() {
	text := func(description string) object {
		return object{{"type", "string"}, {"description", description}}
	}
	reason := reference("schemas", reasonSchema)
	d.schemas[reasonSchema] = object{{"type", "string"}, {"description", reasonWords}, {"enum", reasonNames(func(*errorpb.Meaning, errorpb.ErrorReason) bool { return true })}}
	localized := reference("schemas", "google.rpc.LocalizedMessage")
	details := []struct {
		name, description string
		properties        object
		required          []string
	}{
		{"ErrorInfo", "Why the call was refused.", object{
			{"reason", reason},
			{"domain", object{{"type", "string"}, {"enum", []string{"messagerie"}}, {"description", "Whose reasons these are."}}},
			{"metadata", object{{"type", "object"}, {"additionalProperties", object{{"type", "string"}}}, {"description", "Values that go with the reason, such as limit and actual."}}},
		}, []string{"reason", "domain"}},
		{"BadRequest", "What is wrong with the request, member by member.", object{
			{"fieldViolations", object{{"type", "array"}, {"items", object{
				{"type", "object"},
				{"properties", object{
					{"field", text("The member of the body or the parameter, in camelCase, with full stops between levels; a header in lower case.")},
					{"reason", reason},
					{"description", text("For developers.")},
					{"localizedMessage", localized},
				}},
				{"required", []string{"field", "reason", "description"}},
			}}}},
		}, []string{"fieldViolations"}},
		{"RetryInfo", "When to try again.", object{
			{"retryDelay", object{{"type", "string"}, {"pattern", durationPattern}, {"description", "Seconds, such as 2.5s."}}},
		}, []string{"retryDelay"}},
		{"LocalizedMessage", "Words for people.", object{
			{"locale", text("Language of the words (BCP 47).")}, {"message", text("The words.")},
		}, []string{"locale", "message"}},
		{"RequestInfo", "Which request it was, to report to the operator.", object{
			{"requestId", text("Id of the request, as in the log.")},
		}, []string{"requestId"}},
	}
	// What was written since is a message of ours, with the type that each detail has.
	changed := &messagingpb.ConversationChanged{}
	details = append(details, struct {
		name, description string
		properties        object
		required          []string
	}{string(changed.ProtoReflect().Descriptor().FullName()), "With CONVERSATION_CHANGED and 409: what was written since the message that lastMessageId names.", object{
		{"lastMessageId", text("Id of the last message as it is now.")},
		{"messages", object{{"type", "array"}, {"items", reference("schemas", string((&messagingpb.Message{}).ProtoReflect().Descriptor().FullName()))}, {"description", "The messages since, oldest first."}}},
		{"incomplete", object{{"type", "boolean"}, {"description", "There are more or longer ones than a refusal can hold: the first are left out, or texts are empty."}}},
	}, []string{"lastMessageId", "messages", "incomplete"}})
	var kinds []object
	var mapping object
	for _, detail := range details {
		name := fullName(detail.name)
		if detail.name == "LocalizedMessage" {
			// A violation has it too, without a type.
			d.schemas[name] = object{{"type", "object"}, {"description", detail.description}, {"properties", detail.properties}, {"required", detail.required}}
			name = "google.rpc.LocalizedMessageDetail"
		}
		kinds = append(kinds, reference("schemas", name))
		mapping = append(mapping, member{typeURL(detail.name), fmt.Sprint(reference("schemas", name).get("$ref"))})
		typed := object{{"@type", object{{"type", "string"}, {"enum", []string{typeURL(detail.name)}}}}}
		d.schemas[name] = object{
			{"type", "object"},
			{"description", detail.description},
			{"properties", append(typed, detail.properties...)},
			{"required", append([]string{"@type"}, detail.required...)},
		}
	}
	d.schemas["google.rpc.StatusDetail"] = object{
		{"description", "One detail of an error."},
		{"oneOf", kinds},
		{"discriminator", object{{"propertyName", "@type"}, {"mapping", mapping}}},
	}
	d.schemas[statusSchema] = object{
		{"type", "object"},
		{"description", "An error, the same in gRPC and REST."},
		{"properties", object{
			{"code", object{{"type", "integer"}, {"format", "int32"}, {"minimum", 1}, {"maximum", 16}, {"description", "The code of gRPC (google.rpc.Code)."}}},
			{"message", text("For developers, in English. It holds no personal data, and may change.")},
			{"details", object{{"type", "array"}, {"items", reference("schemas", "google.rpc.StatusDetail")}, {"description", "What a program can read of it, ErrorInfo among them."}}},
		}},
		{"required", []string{"code", "message"}},
	}
}
