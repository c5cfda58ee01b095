package messaging

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// replica follows a server that waits for it with each commit.
func replica(t *testing.T, primary *localpg.Cluster) *localpg.Cluster {
	t.Helper()
	dir := filepath.Dir(primary.Dir()) + "-replica" // where user postgres gets through
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	standby, err := localpg.Follow(t.Context(), primary, localpg.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Stop() })
	pool := messagingtest.Open(t, primary.URL("vault"))
	for _, sql := range []string{
		`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`, `ALTER DATABASE vault SET synchronous_commit = on`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	messagingtest.Eventually(t, "the replica is waited for", func() bool {
		state, err := postgres.One[string](t.Context(), pool, "looking", `SELECT coalesce(max(sync_state), '') FROM pg_stat_replication`)
		return err == nil && state == "sync"
	})
	return standby
}

// either is a URL of whichever of two servers can be written to.
func either(t *testing.T, one, two *localpg.Cluster, database string) string {
	t.Helper()
	first, err := url.Parse(one.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	second, err := url.Parse(two.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	query := first.Query()
	return fmt.Sprintf("host=%s,%s dbname=%s user=postgres target_session_attrs=read-write", query.Get("host"), second.Query().Get("host"), database)
}

// A vault that is lost, its folder with it, while members write who were never seen, goes on
// from its replica: whoever was answered reads what they wrote, by a process that remembers no
// key. Meanwhile members whose keys are in memory go on, and others are told to try again.
func TestVault_LostAndBackFromItsReplica(t *testing.T) {
	t.Parallel()
	s, _, keys := servers(t)
	s.start(t)
	s.stop() // the schema is there
	standby := replica(t, keys)
	s.cfg.VaultURL = either(t, keys, standby, "vault")
	s.start(t)
	known := s.member(t, "jeanne").at(s.process)
	known.submit(t)

	type answered struct {
		by caller
		id string
	}
	var (
		mu   sync.Mutex
		told []answered
		lost = make(chan struct{})
		done sync.WaitGroup
	)
	answers := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(told)
	}
	for writer := range 4 {
		done.Go(func() {
			for n := 0; ; n++ {
				who := s.member(t, fmt.Sprintf("member %d of %d", n, writer)).at(s.process)
				resp, err := who.messaging.SubmitMessage(who.call(t, uuid.NewString()), question())
				if err == nil {
					mu.Lock()
					told = append(told, answered{who, resp.GetConversation().GetId()})
					mu.Unlock()
					continue
				}
				select {
				case <-lost:
					return
				default:
				}
				t.Errorf("before the loss: %v", err)
				return
			}
		})
	}
	messagingtest.Eventually(t, "members are answered", func() bool { return answers() > 100 })
	close(lost)
	if err := keys.Kill(); err != nil {
		t.Fatal(err)
	}
	done.Wait()
	if err := os.RemoveAll(keys.Dir()); err != nil {
		t.Fatal(err)
	}

	told = append(told, answered{known, known.submit(t).GetId()})
	stranger := s.member(t, "paul").at(s.process)
	refused(t, second(stranger.messaging.SubmitMessage(stranger.call(t, uuid.NewString()), question())), codes.Unavailable, "STORE_UNAVAILABLE", "")
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	messagingtest.Eventually(t, "a member who was never seen is answered again", func() bool {
		resp, err := stranger.messaging.SubmitMessage(stranger.call(t, uuid.NewString()), question())
		if err == nil {
			told = append(told, answered{stranger, resp.GetConversation().GetId()})
		} else if status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
		return err == nil
	})
	s.stop()

	s.start(t)
	for _, one := range told {
		if got := one.by.at(s.process).see(t, one.id).GetMessages(); len(got) != 1 || got[0].GetText() != memberText {
			t.Errorf("of %d who were answered, one reads %v", len(told), got)
		}
		if got := s.recipient(t, one.id); got.GetEmail() != memberEmail {
			t.Errorf("of %d who were answered, one is reached by %v", len(told), got)
		}
	}
	t.Logf("%d were answered", len(told))
}
