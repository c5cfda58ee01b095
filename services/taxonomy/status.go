package taxonomy

import (
	"context"
	"log/slog"
	"time"

	"github.com/ma-messagerie/messagerie/chassis"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// statusTimeout bounds the question to the database, below what a caller waits.
const statusTimeout = time.Second

// GetStatus reports how this service is doing. That the database is away is an answer, not
// an error: members are served without it.
func (s *server) GetStatus(ctx context.Context, _ *taxonomypb.GetStatusRequest) (*taxonomypb.GetStatusResponse, error) {
	current := s.store.current.Load().whole
	resp := &taxonomypb.GetStatusResponse{
		BuildVersion: chassis.Version(),
		Version:      current.GetVersion(),
		PublishTime:  current.GetPublishTime(),
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if err := s.store.pool.QueryRow(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&resp.SchemaVersion); err != nil {
		slog.WarnContext(ctx, "reading the schema's version", "error", err)
		return resp, nil
	}
	resp.DatabaseReachable = true
	return resp, nil
}
