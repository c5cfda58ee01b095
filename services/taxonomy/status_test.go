package taxonomy

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

func TestGetStatus(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, nil)
	s, err := run(t, database, "")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(token string) (*taxonomypb.GetStatusResponse, error) {
		return s.admin.GetStatus(bearing(t.Context(), token), &taxonomypb.GetStatusRequest{})
	}
	got, err := ask(s.operator)
	if err != nil || got.GetVersion() != 3 || got.GetPublishTime() == nil || got.GetSchemaVersion() != 5 || !got.GetDatabaseReachable() {
		t.Errorf("%v, %v", got, err)
	}
	for name, token := range map[string]string{"member": s.member, "agent": s.agent, "machine": s.token} {
		if _, err := ask(token); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	cut(t, database)
	if got, err = ask(s.operator); err != nil || got.GetVersion() != 3 || got.GetDatabaseReachable() || got.GetSchemaVersion() != 0 {
		t.Errorf("database away: %v, %v", got, err)
	}
}
