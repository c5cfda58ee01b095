package gateway

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// outsideHealth answers health checks from anybody. It does not let them watch: a watch is a
// stream that a stranger may hold open for as long as they like. gRPC's own clients then take
// the server for healthy, and learn of a drain by the connection's GOAWAY.
type outsideHealth struct{ *health.Server }

// Watch implements the health service.
func (outsideHealth) Watch(*healthpb.HealthCheckRequest, grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	return status.Error(codes.Unimplemented, "health is not watched from outside; ask with Check")
}
