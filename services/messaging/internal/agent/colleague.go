package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"golang.org/x/text/collate"
	"golang.org/x/text/language"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
)

const (
	// ColleagueLife is how long somebody counts as an agent of the fund after they were here.
	ColleagueLife = 30 * 24 * time.Hour
	// seeEvery is how often it is noted that they are here, and seeTimeout how long that may
	// take: it is no reason to keep a call waiting.
	seeEvery   = 10 * time.Minute
	seeTimeout = time.Second
	// maxColleagues bounds those of a caisse that a list reads, and maxSeen those whom a process
	// remembers to have noted.
	maxColleagues = 2000
	maxSeen       = 10_000
)

// colleague is a row of the table agent: somebody who has worked with conversations, as their
// token described them.
type colleague struct {
	ID      string   `db:"id"`
	Caisse  string   `db:"caisse"`
	Name    string   `db:"name"`
	Machine bool     `db:"machine"`
	Queues  []string `db:"queues"`
}

var (
	colleagueColumns = postgres.Columns[colleague]()
	seeSQL           = `INSERT INTO agent (id, caisse, name, machine, queues) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET caisse = excluded.caisse, name = excluded.name, machine = excluded.machine, queues = excluded.queues, seen_at = now()`
)

// sees reports whether they may see the conversations of a queue.
func (c *colleague) sees(queue string) bool {
	return slices.Contains(c.Queues, auth.AllQueues) || slices.Contains(c.Queues, queue)
}

func (c *colleague) equal(other *colleague) bool {
	return c.ID == other.ID && c.Caisse == other.Caisse && c.Name == other.Name && c.Machine == other.Machine && slices.Equal(c.Queues, other.Queues)
}

// roll remembers whom a process has noted lately. The zero roll knows nobody.
type roll struct {
	made  sync.Once
	noted *lru.Cache[string, sighting]
}

// sighting is what was noted of somebody, and when.
type sighting struct {
	colleague
	at time.Time
}

func (r *roll) cache() *lru.Cache[string, sighting] {
	r.made.Do(func() {
		noted, err := lru.New[string, sighting](maxSeen)
		if err != nil {
			panic(err) // a size below 1
		}
		r.noted = noted
	})
	return r.noted
}

// see notes that an agent is here, now and then. Without it they are merely not offered to
// their colleagues: a fault is no reason to refuse what they do.
func (s *Server) see(ctx context.Context, id *auth.Identity) {
	here := colleague{
		ID: id.Subject, Caisse: id.Caisse, Name: conversation.AgentName(id), Machine: id.Realm == auth.RealmMachine, Queues: id.Queues,
	}
	if here.Queues == nil {
		here.Queues = []string{}
	}
	if known, ok := s.roll.cache().Get(id.Subject); ok && known.equal(&here) && time.Since(known.at) < seeEvery {
		return
	}
	s.roll.cache().Add(id.Subject, sighting{here, time.Now()})
	ctx, cancel := context.WithTimeout(ctx, seeTimeout)
	defer cancel()
	if err := s.noteColleague(ctx, &here); err != nil {
		s.roll.cache().Remove(id.Subject)
		slog.WarnContext(ctx, "noting that an agent is here", "agent", id.Subject, "error", err)
	}
}

func (s *Server) noteColleague(ctx context.Context, c *colleague) error {
	_, err := postgres.Exec(ctx, s.DB, "noting an agent", seeSQL, c.ID, c.Caisse, c.Name, c.Machine, c.Queues)
	return err
}

// colleague returns an agent of a caisse; errAgentUnknown for a machine, and for whoever has
// not been here lately.
func (s *Server) colleague(ctx context.Context, caisse, id string) (*colleague, error) {
	found, err := s.colleagueOf(ctx, caisse, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errAgentUnknown
	}
	return &found, err
}

func (s *Server) colleagueOf(ctx context.Context, caisse, id string) (colleague, error) {
	return postgres.One[colleague](ctx, s.DB, "looking for an agent",
		`SELECT `+colleagueColumns+` FROM agent WHERE id = $1 AND caisse = $2 AND NOT machine AND seen_at > now() - $3::interval`, id, caisse, ColleagueLife)
}

func (s *Server) colleaguesOf(ctx context.Context, caisse string) ([]colleague, error) {
	return postgres.Many[colleague](ctx, s.DB, "listing agents",
		`SELECT `+colleagueColumns+` FROM agent WHERE caisse = $1 AND NOT machine AND seen_at > now() - $2::interval ORDER BY id LIMIT $3`, caisse, ColleagueLife, maxColleagues)
}

// ListAgents returns those of the caisse, by name as a French reader expects it.
func (s *Server) ListAgents(ctx context.Context, req *messagingpb.ListAgentsRequest) (*messagingpb.ListAgentsResponse, error) {
	id := auth.FromContext(ctx)
	s.see(ctx, id)
	key, err := rpc.PageKey(ctx, req)
	if err != nil {
		return nil, err
	}
	rows, err := s.colleaguesOf(ctx, id.Caisse)
	if err != nil {
		return nil, err
	}
	if req.GetQueue() != "" {
		rows = slices.DeleteFunc(rows, func(c colleague) bool { return !c.sees(req.GetQueue()) })
	}
	french := collate.New(language.French)
	compare := func(a, b colleague) int { return cmp.Or(french.CompareString(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) }
	slices.SortFunc(rows, compare)
	after := slices.IndexFunc(rows, func(c colleague) bool { return c.ID == string(key) })
	if key != nil && after < 0 {
		return nil, rpc.ErrPageToken // they have gone meanwhile
	}
	shown, more := page.Cut(rows[after+1:], req.GetPageSize(), maxAgents, func(colleague) bool { return true })
	resp := &messagingpb.ListAgentsResponse{}
	for i := range shown {
		resp.Agents = append(resp.Agents, &messagingpb.Agent{Id: shown[i].ID, Name: shown[i].Name, Queues: shown[i].Queues})
	}
	if more {
		resp.NextPageToken = rpc.PageToken(ctx, req, []byte(shown[len(shown)-1].ID))
	}
	return resp, nil
}

// maxAgents bounds a page.
const maxAgents = 500

// ForgetColleagues deletes some of those who have not been here within a term.
func ForgetColleagues(ctx context.Context, db postgres.Querier, term time.Duration) (int64, error) {
	return postgres.Exec(ctx, db, "forgetting agents", `DELETE FROM agent WHERE id = ANY (ARRAY(
		SELECT id FROM agent WHERE seen_at <= now() - $1::interval ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, term, postgres.ForgetBatch)
}
