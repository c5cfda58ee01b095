// Package route holds what the gateway knows of the methods that it forwards, all of it read
// from the .proto files: who may call them, whether their answers stream, and their REST path.
//
// A new method needs no line here. One that the gateway could not forward faithfully, such as
// one whose REST path has an unsupported form, is an error of [Read], so that it is noticed
// before anything is served.
package route

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
)

// Route is one method.
type Route struct {
	// Method is the full name as gRPC writes it: "/package.Service/Method".
	Method string
	rpc.Rule
	// Conn leads to the process that answers, StreamConn to the same for streams: a
	// connection carries a bounded number of calls, and long ones must not take the places
	// of short ones.
	Conn, StreamConn grpc.ClientConnInterface
	// Streams: many answers to one request; Endless: with no end of their own.
	Streams, Endless bool
	// Input is the type of the request, Output of the answer.
	Input, Output protoreflect.MessageType
	// Verb and Path are those of REST, both empty without google.api.http.
	Verb, Path string
	// Query are the parameters that may follow the path, by JSON name: the
	// fields of the request that are neither in the path nor in the body.
	Query map[string]protoreflect.FieldDescriptor
	// HasBody: the request comes as a JSON object.
	HasBody bool
	// Also are its other forms in REST, which differ in Verb, Path, Query and HasBody alone.
	Also []*Route
}

// Forms are all forms of the method in REST.
func (rt *Route) Forms() []*Route {
	if rt.Path == "" {
		return nil
	}
	return append([]*Route{rt}, rt.Also...)
}

// Service is one that can be called from outside.
type Service struct {
	// Name is the full one: "package.Service".
	Name string
	// Conn and StreamConn are those of its routes.
	Conn, StreamConn grpc.ClientConnInterface
}

// Read reads the services' methods from the descriptors that are linked into the program.
// Methods for the system's own processes are left out, so that the gateway does not know
// them.
func Read(services []Service) (map[string]*Route, error) {
	routes := make(map[string]*Route)
	var faults []error
	for _, service := range services {
		policy, err := rpc.PolicyOf(service.Name)
		faults = append(faults, err)
		for method, rule := range policy {
			if rule.Access == accesspb.Access_ACCESS_SERVICE {
				continue
			}
			rt := &Route{Method: method, Rule: rule, Conn: service.Conn, StreamConn: service.StreamConn}
			faults = append(faults, rt.describe())
			routes[method] = rt
		}
	}
	return routes, errors.Join(faults...)
}

// describe fills in what the method's descriptor says.
func (rt *Route) describe() error {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(rt.Method, "/"), "/", "."))
	desc, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return fmt.Errorf("method %s: %w", name, err)
	}
	method, ok := desc.(protoreflect.MethodDescriptor)
	if !ok {
		return fmt.Errorf("%s is not a method", name)
	}
	if method.IsStreamingClient() {
		return fmt.Errorf("method %s: requests that stream are not forwarded", name)
	}
	rt.Streams = method.IsStreamingServer()
	rt.Endless, _ = proto.GetExtension(method.Options(), accesspb.E_Endless).(bool)
	if rt.Input, err = protoregistry.GlobalTypes.FindMessageByName(method.Input().FullName()); err != nil {
		return fmt.Errorf("method %s: %w", name, err)
	}
	if rt.Output, err = protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName()); err != nil {
		return fmt.Errorf("method %s: %w", name, err)
	}
	rule, _ := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
	if err := rt.describeREST(rule); err != nil {
		return err
	}
	for _, more := range rule.GetAdditionalBindings() {
		also := *rt
		also.Also = nil
		if err := also.describeREST(more); err != nil {
			return err
		}
		rt.Also = append(rt.Also, &also)
	}
	return nil
}

func (rt *Route) describeREST(rule *annotations.HttpRule) error {
	switch pattern := rule.GetPattern().(type) {
	case nil:
		return nil
	case *annotations.HttpRule_Get:
		rt.Verb, rt.Path = "GET", pattern.Get
	case *annotations.HttpRule_Post:
		rt.Verb, rt.Path = "POST", pattern.Post
	case *annotations.HttpRule_Put:
		rt.Verb, rt.Path = "PUT", pattern.Put
	case *annotations.HttpRule_Patch:
		rt.Verb, rt.Path = "PATCH", pattern.Patch
	case *annotations.HttpRule_Delete:
		rt.Verb, rt.Path = "DELETE", pattern.Delete
	default:
		return fmt.Errorf("method %s: REST verb %T is not supported", rt.Method, pattern)
	}
	if rule.GetResponseBody() != "" || (rule.GetBody() != "" && rule.GetBody() != "*") {
		return fmt.Errorf("method %s: of google.api.http only paths with body \"*\" or none are supported", rt.Method)
	}
	rt.HasBody = rule.GetBody() == "*"
	if rt.Streams && rt.HasBody {
		return fmt.Errorf("method %s: requests of streams must not have a body", rt.Method)
	}
	rt.Query = make(map[string]protoreflect.FieldDescriptor)
	fields := rt.Input.Descriptor().Fields()
	for i := 0; i < fields.Len() && !rt.HasBody; i++ {
		if field := fields.Get(i); !strings.Contains(rt.Path, "{"+string(field.Name())+"}") {
			rt.Query[field.JSONName()] = field
		}
	}
	return nil
}

// Matches reports whether a path is one of the route's, whatever its verb.
func (rt *Route) Matches(path string) bool {
	want, got := strings.Split(rt.Path, "/"), strings.Split(path, "/")
	if rt.Path == "" || len(want) != len(got) {
		return false
	}
	for i, segment := range want {
		if _, action, isParam := strings.Cut(segment, "}"); isParam {
			// "{id}" or "{id}:hide"
			if len(got[i]) <= len(action) || !strings.HasSuffix(got[i], action) {
				return false
			}
		} else if segment != got[i] {
			return false
		}
	}
	return true
}
