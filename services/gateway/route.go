package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// The processes behind the gateway.
const (
	taxonomy  = "taxonomy"
	messaging = "messaging"
	notifier  = "notifier"
)

// entry is one service that can be reached from outside.
type entry struct {
	service, backend string
	// register puts the service's REST paths on mux.
	register func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error
}

// forwarded is every such service. A new method of one of them needs no line
// here; a new service needs one entry.
var forwarded = []entry{
	{taxonomypb.TaxonomyService_ServiceDesc.ServiceName, taxonomy, func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return taxonomypb.RegisterTaxonomyServiceHandlerClient(ctx, mux, taxonomypb.NewTaxonomyServiceClient(conn))
	}},
	{taxonomypb.OperatorService_ServiceDesc.ServiceName, taxonomy, func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return taxonomypb.RegisterOperatorServiceHandlerClient(ctx, mux, taxonomypb.NewOperatorServiceClient(conn))
	}},
	{messagingpb.MessagingService_ServiceDesc.ServiceName, messaging, func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return messagingpb.RegisterMessagingServiceHandlerClient(ctx, mux, messagingpb.NewMessagingServiceClient(conn))
	}},
	{messagingpb.AgentService_ServiceDesc.ServiceName, messaging, func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return messagingpb.RegisterAgentServiceHandlerClient(ctx, mux, messagingpb.NewAgentServiceClient(conn))
	}},
	{messagingpb.OperatorService_ServiceDesc.ServiceName, messaging, func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return messagingpb.RegisterOperatorServiceHandlerClient(ctx, mux, messagingpb.NewOperatorServiceClient(conn))
	}},
	{notifierpb.NotifierService_ServiceDesc.ServiceName, notifier, func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return notifierpb.RegisterNotifierServiceHandlerClient(ctx, mux, notifierpb.NewNotifierServiceClient(conn))
	}},
	{notifierpb.AgentService_ServiceDesc.ServiceName, notifier, func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return notifierpb.RegisterAgentServiceHandlerClient(ctx, mux, notifierpb.NewAgentServiceClient(conn))
	}},
	{notifierpb.OperatorService_ServiceDesc.ServiceName, notifier, func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
		return notifierpb.RegisterOperatorServiceHandlerClient(ctx, mux, notifierpb.NewOperatorServiceClient(conn))
	}},
}

// route is what the gateway knows of one method, all of it read from the .proto.
type route struct {
	// method is the full name as gRPC writes it: "/package.Service/Method".
	method string
	rpc.Rule
	// backend is the process that answers, conn the way to it, and streamConn that of
	// streams: a connection carries a bounded number of calls, and those that last
	// must not be in the way of those that do not.
	backend          string
	conn, streamConn grpc.ClientConnInterface
	// stream: many answers to one request; endless: with no end of their own.
	stream, endless bool
	// input is the type of the request, output of the answer.
	input, output protoreflect.MessageType
	// verb and path are those of REST, both empty without google.api.http.
	verb, path string
	// query are the parameters that may follow the path, by JSON name: the
	// fields of the request that are neither in the path nor in the body.
	query map[string]protoreflect.FieldDescriptor
	// hasBody: the request comes as a JSON object.
	hasBody bool
}

// readRoutes reads the services' methods from the descriptors that are linked
// into the program. Methods for the system's own processes are left out, so that
// the gateway does not know them. A method that the gateway could not forward
// faithfully is an error, so that it is noticed before anything is served.
func readRoutes(entries []entry, conns, streamConns map[string]grpc.ClientConnInterface) (map[string]*route, error) {
	routes := make(map[string]*route)
	var faults []error
	for _, entry := range entries {
		policy, err := rpc.PolicyOf(entry.service)
		faults = append(faults, err)
		for method, rule := range policy {
			if rule.Access == accesspb.Access_ACCESS_SERVICE {
				continue
			}
			rt := &route{method: method, Rule: rule, backend: entry.backend, conn: conns[entry.backend], streamConn: streamConns[entry.backend]}
			faults = append(faults, rt.describe())
			routes[method] = rt
		}
	}
	return routes, errors.Join(faults...)
}

// describe fills in what the method's descriptor says.
func (rt *route) describe() error {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(rt.method, "/"), "/", "."))
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
	rt.stream = method.IsStreamingServer()
	rt.endless, _ = proto.GetExtension(method.Options(), accesspb.E_Endless).(bool)
	if rt.input, err = protoregistry.GlobalTypes.FindMessageByName(method.Input().FullName()); err != nil {
		return fmt.Errorf("method %s: %w", name, err)
	}
	if rt.output, err = protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName()); err != nil {
		return fmt.Errorf("method %s: %w", name, err)
	}
	rule, _ := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
	return errors.Join(rt.describeREST(rule), rt.checkDocument())
}

func (rt *route) describeREST(rule *annotations.HttpRule) error {
	switch pattern := rule.GetPattern().(type) {
	case nil:
		return nil
	case *annotations.HttpRule_Get:
		rt.verb, rt.path = "GET", pattern.Get
	case *annotations.HttpRule_Post:
		rt.verb, rt.path = "POST", pattern.Post
	case *annotations.HttpRule_Put:
		rt.verb, rt.path = "PUT", pattern.Put
	case *annotations.HttpRule_Patch:
		rt.verb, rt.path = "PATCH", pattern.Patch
	case *annotations.HttpRule_Delete:
		rt.verb, rt.path = "DELETE", pattern.Delete
	default:
		return fmt.Errorf("method %s: REST verb %T is not known here", rt.method, pattern)
	}
	if len(rule.GetAdditionalBindings()) > 0 || rule.GetResponseBody() != "" || (rule.GetBody() != "" && rule.GetBody() != "*") {
		return fmt.Errorf("method %s: of google.api.http only one path with body \"*\" or none is supported", rt.method)
	}
	rt.hasBody = rule.GetBody() == "*"
	if rt.stream && rt.hasBody {
		return fmt.Errorf("method %s: requests for what streams have no body", rt.method)
	}
	rt.query = make(map[string]protoreflect.FieldDescriptor)
	fields := rt.input.Descriptor().Fields()
	for i := 0; i < fields.Len() && !rt.hasBody; i++ {
		if field := fields.Get(i); !strings.Contains(rt.path, "{"+string(field.Name())+"}") {
			rt.query[field.JSONName()] = field
		}
	}
	return nil
}

// matches reports whether a path is one of the route's, whatever its verb.
func (rt *route) matches(path string) bool {
	want, got := strings.Split(rt.path, "/"), strings.Split(path, "/")
	if rt.path == "" || len(want) != len(got) {
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
