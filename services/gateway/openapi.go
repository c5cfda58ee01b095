package gateway

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// generatedAPI is OpenAPI 3.1 as generated from the .proto; `make generate`
// writes it anew.
//
//go:embed openapi.json
var generatedAPI []byte

// textLimits are the fewest and most characters of the field "text" of a
// request, which the generator cannot see.
var textLimits = map[string][2]int{
	messagingpb.MessagingService_SubmitMessage_FullMethodName: {10, 750},
	messagingpb.MessagingService_PostFollowUp_FullMethodName:  {10, 750},
	messagingpb.AgentService_PostReply_FullMethodName:         {1, 5000},
	messagingpb.AgentService_AddNote_FullMethodName:           {1, 2000},
}

// object is a JSON object whose fields are edited by name.
type object = map[string]any

// describeAPI adds to the generated document what only the gateway knows: how to
// authenticate, who may call, the headers, the limits.
func describeAPI(routes map[string]*route) ([]byte, error) {
	var doc struct {
		OpenAPI    string                       `json:"openapi"`
		Info       object                       `json:"info"`
		Servers    []object                     `json:"servers"`
		Security   []object                     `json:"security"`
		Tags       []object                     `json:"tags"`
		Paths      map[string]map[string]object `json:"paths"`
		Components object                       `json:"components"`
	}
	if err := json.Unmarshal(generatedAPI, &doc); err != nil {
		return nil, fmt.Errorf("reading openapi.json: %w", err)
	}
	doc.Info = object{
		"title":   "Ma messagerie",
		"version": "1",
		"description": "Secure messaging between insured people and their social-security body. " +
			"Errors are google.rpc.Status; a program compares `reason`, never `message`. Unknown fields and parameters are refused.",
	}
	doc.Servers = []object{{"url": "/", "description": "This gateway"}}
	doc.Security = []object{{"bearer": []string{}}}
	doc.Components["securitySchemes"] = object{"bearer": object{
		"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
		"description": "A token of one of the accepted OpenID Connect issuers.",
	}}
	used := make(map[string]bool)
	for _, rt := range routes {
		operation := doc.Paths[rt.path][strings.ToLower(rt.verb)]
		if rt.path != "" && operation == nil {
			return nil, fmt.Errorf("openapi.json lacks %s %s: run make generate", rt.verb, rt.path)
		}
		describeOperation(operation, rt)
		used[serviceOf(rt.method)] = true
	}
	// Services that are not forwarded are nobody's business.
	doc.Tags = slices.DeleteFunc(doc.Tags, func(tag object) bool { return !used[fmt.Sprint(tag["name"])] })
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("writing openapi.json: %w", err)
	}
	return text, nil
}

// serviceOf is a method's service without its package, as OpenAPI's tags have it.
func serviceOf(method string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service[strings.LastIndex(service, ".")+1:]
}

// operationID names a method for who calls it in another language: getConversation of
// members, agentGetConversation, messagingOperatorGetStatus.
func operationID(method string) string {
	_, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	prefix := ""
	switch service := serviceOf(method); service {
	case "AgentService":
		prefix = "agent"
	case "OperatorService": // there is one of each package
		prefix = strings.Split(method, ".")[1] + "Operator"
	default:
		return strings.ToLower(name[:1]) + name[1:]
	}
	return prefix + name
}

func describeOperation(operation object, rt *route) {
	if operation == nil {
		return
	}
	operation["operationId"] = operationID(rt.method)
	operation["x-scope"] = rt.Scope
	operation["x-access"] = strings.TrimPrefix(rt.Access.String(), "ACCESS_")
	if rt.Access == accesspb.Access_ACCESS_PUBLIC {
		operation["security"] = []object{}
	}
	if rt.Idempotency == accesspb.Idempotency_IDEMPOTENCY_KEYED {
		parameters, _ := operation["parameters"].([]any)
		operation["parameters"] = append(parameters, object{
			"name": "Idempotency-Key", "in": "header", "required": true,
			"description": "A UUID of the caller's choice, kept for every retry of the same submission.",
			"schema":      object{"type": "string", "format": "uuid"},
		})
	}
	if rt.stream {
		describeStream(operation, rt)
	}
	if rt.Ticket {
		parameters, _ := operation["parameters"].([]any)
		operation["parameters"] = append(parameters, object{
			"name": ticketParam, "in": "query",
			"description": "A ticket of createWatchTicket, in place of a token.",
			"schema":      object{"type": "string", "maxLength": ticketMost},
		})
		operation["security"] = []object{{"bearer": []string{}}, {}}
	}
	schema := dig(operation, "requestBody", "content", "application/json", "schema")
	if schema == nil {
		return
	}
	schema["additionalProperties"] = false
	if limits, ok := textLimits[rt.method]; ok {
		text := dig(schema, "properties", "text")
		text["minLength"], text["maxLength"] = limits[0], limits[1]
	}
}

// dig goes down a path of objects; nil where there is none.
func dig(at object, path ...string) object {
	for _, name := range path {
		at, _ = at[name].(object)
	}
	return at
}
