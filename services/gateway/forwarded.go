package gateway

import (
	"context"
	"errors"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/stream"
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

// readRoutes reads the routes of services; conns and streamConns lead to the processes.
func readRoutes(entries []entry, conns, streamConns map[string]grpc.ClientConnInterface) (map[string]*route.Route, error) {
	var services []route.Service
	for _, e := range entries {
		services = append(services, route.Service{Name: e.service, Conn: conns[e.backend], StreamConn: streamConns[e.backend]})
	}
	routes, err := route.Read(services)
	for _, rt := range routes {
		err = errors.Join(err, stream.CheckDocument(rt))
	}
	return routes, err
}
