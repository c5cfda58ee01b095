package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/stream"
)

// described is openapi.json, with its schemas ready to be held against values.
type described struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
}

func readAPI(t *testing.T) *described {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return &described{doc.(map[string]any), compiler}
}

// schema is one of the document's, by its JSON pointer.
func (d *described) schema(t *testing.T, path ...string) *jsonschema.Schema {
	t.Helper()
	for i := range path {
		path[i] = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(path[i])
	}
	schema, err := d.compiler.Compile("openapi.json#/" + strings.Join(path, "/"))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// dig goes down a path of objects; nil where there is none.
func dig(at any, path ...string) map[string]any {
	for _, name := range path {
		object, _ := at.(map[string]any)
		at = object[name]
	}
	object, _ := at.(map[string]any)
	return object
}

func TestOpenAPI_IsTheFile(t *testing.T) {
	t.Parallel()
	s := start(t)
	file, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	got := s.rest(t, "nobody", "GET", "/openapi.json", "")
	if got.code != 200 || got.body != string(file) {
		t.Errorf("%d, %d bytes; the file has %d", got.code, len(got.body), len(file))
	}
	if again := s.rest(t, "nobody", "GET", "/openapi.json", "", "If-None-Match", got.header.Get("ETag")); again.code != 304 {
		t.Errorf("again: %d", again.code)
	}
}

// formsOf are the forms in REST of all methods.
func formsOf(routes map[string]*route.Route) (forms []*route.Route) {
	for _, rt := range routes {
		forms = append(forms, rt.Forms()...)
	}
	return forms
}

func TestOpenAPI_HasEachOperation(t *testing.T) {
	t.Parallel()
	doc := readAPI(t).doc
	routes, err := readRoutes(forwarded, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	found, named := 0, make(map[any]string)
	forms := formsOf(routes)
	for _, operations := range dig(doc, "paths") {
		found += len(dig(operations))
	}
	if found != len(forms) {
		t.Errorf("%d operations are described, %d exist", found, len(forms))
	}
	for _, rt := range forms {
		operation := dig(doc, "paths", rt.Path, strings.ToLower(rt.Verb))
		if operation == nil {
			t.Errorf("%s %s is not described", rt.Verb, rt.Path)
			continue
		}
		var parameters []string
		list, _ := operation["parameters"].([]any)
		for _, parameter := range list {
			parameters = append(parameters, fmt.Sprint(dig(parameter)["name"]))
		}
		if slices.Contains(parameters, "Idempotency-Key") != (rt.Idempotency == accesspb.Idempotency_IDEMPOTENCY_KEYED) {
			t.Errorf("%s: parameters %s", rt.Method, parameters)
		}
		for name := range rt.Query {
			if !slices.Contains(parameters, name) {
				t.Errorf("%s: parameters %s, want %s", rt.Method, parameters, name)
			}
		}
		if other := named[operation["operationId"]]; other != "" || operation["x-scope"] != rt.Scope {
			t.Errorf("%s: named %v as %s is, scope %v", rt.Method, operation["operationId"], other, operation["x-scope"])
		}
		named[operation["operationId"]] = rt.Method
		if rt.Streams {
			checkOffers(t, rt, dig(operation, "responses", "200", "content"))
		}
	}
	for _, id := range []any{"submitMessage", "agentGetConversation", "messagingOperatorGetStatus", "taxonomyOperatorGetStatus"} {
		if named[id] == "" {
			t.Errorf("no operation is named %s", id)
		}
	}
	for _, tag := range doc["tags"].([]any) {
		if name := dig(tag)["name"]; name == "RecipientService" || name == "CatalogueService" {
			t.Errorf("%s is named", name)
		}
	}
}

// checkOffers compares what a stream is described as with what is written.
func checkOffers(t *testing.T, rt *route.Route, content map[string]any) {
	t.Helper()
	offers := stream.MediaTypes(rt)
	if !rt.Endless {
		offers = offers[:1] // a client takes one schema
	}
	for _, offer := range offers {
		if content[offer] == nil || len(content) != len(offers) {
			t.Errorf("%s is described as %v", rt.Method, content)
		}
	}
	parts := stream.Parts(rt.Method)
	if parts == nil {
		return
	}
	ref, _ := dig(content, answer.PlainJSON, "schema")["$ref"].(string)
	doc := readAPI(t).doc
	properties := dig(doc, append(strings.Split(strings.TrimPrefix(ref, "#/"), "/"), "properties")...)
	for _, part := range parts {
		if (dig(properties, part.Name)["type"] == "array") != part.Many || len(properties) != len(parts) {
			t.Errorf("the document of %s is described as %v", rt.Method, properties)
		}
	}
}

// TestOpenAPI_Examples holds each example against its schema, and wants one of each
// request, each answer and each parameter that must be given.
func TestOpenAPI_Examples(t *testing.T) {
	t.Parallel()
	d := readAPI(t)
	tried := 0
	try := func(at map[string]any, path ...string) {
		tried++
		example, ok := at["example"]
		if !ok {
			t.Errorf("%s has no example", path)
		} else if err := d.schema(t, append(path, "schema")...).Validate(example); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for path, operations := range dig(d.doc, "paths") {
		for verb, operation := range dig(operations) {
			for i, parameter := range list(dig(operation)["parameters"]) {
				if p := dig(parameter); p["required"] == true || p["example"] != nil {
					try(p, "paths", path, verb, "parameters", fmt.Sprint(i))
				}
			}
			if body := dig(operation, "requestBody", "content", answer.PlainJSON); body != nil {
				try(body, "paths", path, verb, "requestBody", "content", answer.PlainJSON)
			}
			content := dig(operation, "responses", "200", "content")
			for mediaType, described := range content {
				// That of events would have to be events.
				if mediaType != stream.EventStream {
					try(dig(described), "paths", path, verb, "responses", "200", "content", mediaType)
				}
			}
		}
	}
	for name, response := range dig(d.doc, "components", "responses") {
		if refusal := dig(response, "content", answer.PlainJSON); refusal != nil {
			try(refusal, "components", "responses", name, "content", answer.PlainJSON)
		}
	}
	for name, header := range dig(d.doc, "components", "headers") {
		try(dig(header), "components", "headers", name)
	}
	if tried < 120 {
		t.Errorf("tried %d examples", tried)
	}
}

// TestOpenAPI_Headers holds those of an answer and of a refusal against their schemas.
func TestOpenAPI_Headers(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.RatePerCaller, cfg.BurstPerCaller = 100, 100 })
	d := readAPI(t)
	for _, path := range []string{"/v1/conversations", "/v1/nothing"} {
		got := s.rest(t, "member", "GET", path, "")
		described := dig(d.doc, "paths", "/v1/conversations", "get", "responses", "200", "headers")
		if got.code != 200 {
			described = dig(d.doc, "components", "responses", "NotFound", "headers")
		}
		if len(described) < 3 {
			t.Errorf("%s: %d headers are described", path, len(described))
		}
		for name := range described {
			if value := got.header.Get(name); value == "" {
				t.Errorf("%s has no %s", path, name)
			} else if err := d.schema(t, "components", "headers", name, "schema").Validate(value); err != nil {
				t.Errorf("%s: %s: %v", path, name, err)
			}
		}
	}
}

func list(value any) []any {
	items, _ := value.([]any)
	return items
}

// TestOpenAPI_Failures has a service fail in every operation. (What a system in good health
// answers with is tried in dev/stack.)
func TestOpenAPI_Failures(t *testing.T) {
	t.Parallel()
	s := start(t)
	d := readAPI(t)
	wholeStatus := d.schema(t, "components", "schemas", "google.rpc.Status")
	routes, err := readRoutes(forwarded, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	callers := map[accesspb.Access]string{
		accesspb.Access_ACCESS_PUBLIC: "nobody", accesspb.Access_ACCESS_MEMBER: "member", accesspb.Access_ACCESS_AGENT: "agent",
		accesspb.Access_ACCESS_MEMBER_OR_AGENT: "member", accesspb.Access_ACCESS_SUPERVISOR: "supervisor", accesspb.Access_ACCESS_OPERATOR: "operator",
		accesspb.Access_ACCESS_AGENT_WITH_SCOPE: "supervisor",
	}
	for code, want := range map[codes.Code]int{codes.ResourceExhausted: 429, codes.Internal: 500, codes.Unavailable: 503, codes.DeadlineExceeded: 504} {
		s.fail.Store(rpc.Refuse(code, errorpb.ErrorReason_REPORTS_BUSY, "not now"))
		for _, rt := range formsOf(routes) {
			operation := dig(d.doc, "paths", rt.Path, strings.ToLower(rt.Verb))
			path := parameter.ReplaceAllString(rt.Path, someKey)
			body, err := json.Marshal(dig(operation, "requestBody", "content", answer.PlainJSON)["example"])
			if err != nil {
				t.Fatal(err)
			}
			if !rt.HasBody {
				body = nil
			}
			got := s.rest(t, callers[rt.Access], rt.Verb, path, string(body))
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(got.body))
			if got.code != want || dig(operation, "responses")[fmt.Sprint(want)] == nil || err != nil {
				t.Errorf("%s: %d %s, want %d", rt.Method, got.code, got.body, want)
			} else if err := wholeStatus.Validate(value); err != nil {
				t.Errorf("%s: %d: %v", rt.Method, want, err)
			}
			if later := got.header.Get("Retry-After"); (later != "") != (want == 429 || want == 503) {
				t.Errorf("%s: %d with Retry-After %q", rt.Method, want, later)
			}
		}
	}
}

// The document has every reason, and each status those that come with it.
func TestOpenAPI_Reasons(t *testing.T) {
	t.Parallel()
	d := readAPI(t)
	listed, _ := dig(d.doc, "components", "schemas", "messagerie.error.v1.ErrorReason")["enum"].([]any)
	for number, name := range errorpb.ErrorReason_name {
		if (number != 0) != slices.Contains(listed, any(name)) {
			t.Errorf("%s among the reasons: %t", name, number == 0)
		}
	}
	for name, row := range map[string]struct{ has, lacks string }{
		"BadRequest": {"PARAMETER_UNKNOWN", "CLAIM_HELD"}, "Conflict": {"CONVERSATION_CHANGED", "RATE_LIMITED"},
		"PreconditionFailed": {"CONVERSATION_CHANGED", "CLAIM_HELD"}, "TooManyRequests": {"RATE_LIMITED", "REQUEST_TOO_LARGE"},
	} {
		words, _ := dig(d.doc, "components", "responses", name)["description"].(string)
		if !strings.Contains(words, row.has) || strings.Contains(words, row.lacks) {
			t.Errorf("%s: %s", name, words)
		}
	}
	read := d.schema(t, "components", "schemas", "messagerie.messaging.v1.MarkConversationReadRequest")
	for id, good := range map[string]bool{"": true, someID: true, "zz": false} {
		if err := read.Validate(map[string]any{"messageId": id}); (err == nil) != good {
			t.Errorf("messageId %q: %v", id, err)
		}
	}
}

// parameter is one of a path.
var parameter = regexp.MustCompile(`\{\w+\}`)

// TestOpenAPI_Schemas looks at what the document forbids.
func TestOpenAPI_Schemas(t *testing.T) {
	t.Parallel()
	const submission = `{"audience":"PARTICULIER","theme":"famille","taxonomyVersion":1,"text":"0123456789"`
	long := strings.Repeat("é", 750)
	for _, tt := range []struct {
		schema, value string
		want          bool
	}{
		{"messaging.v1.SubmitMessageRequest", submission + `}`, true},
		{"messaging.v1.SubmitMessageRequest", submission + `,"colour":"red"}`, false},
		{"messaging.v1.SubmitMessageRequest", `{"audience":"AUDIENCE_UNSPECIFIED","theme":"famille","taxonomyVersion":1,"text":"0123456789"}`, false},
		{"messaging.v1.SubmitMessageRequest", `{"audience":"PARTICULIER","theme":"famille","taxonomyVersion":1}`, false},
		{"messaging.v1.SubmitMessageRequest", `{"audience":"PARTICULIER","theme":"famille","text":"0123456789"}`, false},
		{"messaging.v1.SubmitMessageRequest", `{"audience":"PARTICULIER","theme":"famille","taxonomyVersion":0,"text":"0123456789"}`, false},
		{"messaging.v1.SubmitMessageRequest", `{"audience":"PARTICULIER","theme":"famille","taxonomyVersion":1,"text":"012345678"}`, false},
		{"messaging.v1.SubmitMessageRequest", `{"audience":"PARTICULIER","theme":"famille","taxonomyVersion":1,"text":"` + long + `"}`, true},
		{"messaging.v1.SubmitMessageRequest", `{"audience":"PARTICULIER","theme":"famille","taxonomyVersion":1,"text":"` + long + `é"}`, false},
		{"messaging.v1.MarkConversationReadRequest", `{}`, true},
		{"messaging.v1.MarkConversationReadRequest", `{"messageId":"7"}`, false},
		{"messaging.v1.EraseMyDataRequest", `{"confirm":false}`, false},
		{"messaging.v1.UpdatePreferencesRequest", `{"preferences":{"smsOnReply":true}}`, true},
		{"messaging.v1.UpdatePreferencesRequest", `{"preferences":{"locale":"de"}}`, false},
		{"messaging.v1.UpdatePreferencesRequest", `{}`, false},
		{"messaging.v1.GetPreferencesResponse", `{"preferences":{"smsOnReply":true}}`, false},
		{"messaging.v1.ExpectedDelay", `{"workingDays":"5"}`, false},
		{"messaging.v1.MyData", `{"drafts":[],"conversations":[]}`, false},
		{"notifier.v1.ProviderStatus", `{"provider":"smtp","channel":"EMAIL","accepted":1}`, false},
		{"notifier.v1.ReplayDeadLettersRequest", `{"filter":{"channel":"FAX"}}`, false},
	} {
		t.Run(tt.schema+tt.value[:min(40, len(tt.value))], func(t *testing.T) {
			t.Parallel()
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(tt.value))
			if err != nil {
				t.Fatal(err)
			}
			if err := readAPI(t).schema(t, "components", "schemas", "messagerie."+tt.schema).Validate(value); (err == nil) != tt.want {
				t.Errorf("%s: %v", tt.value, err)
			}
		})
	}
}

// TestOpenAPI_References finds a $ref that leads nowhere.
func TestOpenAPI_References(t *testing.T) {
	t.Parallel()
	var doc any
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	found := 0
	var walk func(any)
	walk = func(at any) {
		switch at := at.(type) {
		case map[string]any:
			if ref, ok := at["$ref"].(string); ok {
				found++
				if dig(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, value := range at {
				walk(value)
			}
		case []any:
			for _, value := range at {
				walk(value)
			}
		}
	}
	walk(doc)
	if found < 300 {
		t.Errorf("found %d references", found)
	}
}
