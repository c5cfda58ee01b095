package messaging

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

func (c caller) erase(t *testing.T) {
	t.Helper()
	if _, err := c.messaging.EraseMyData(c.call(t), &messagingpb.EraseMyDataRequest{Confirm: true}); err != nil {
		t.Fatal(err)
	}
}

// Whoever writes right after an erasure by another process is not lost with the key that this
// one remembers: message, draft and contact points open everywhere.
func TestErase_WhatIsWrittenAfterwardsIsKept(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	one, two := s.start(t), s.start(t)
	three := s.start(t)
	for name, row := range map[string]struct {
		write func(c caller)
		kept  func(c caller) string
		want  string
	}{
		"a message": {func(c caller) { c.submit(t) }, func(c caller) string {
			_, _, texts := c.export(t)
			return strings.Join(texts, "|")
		}, memberText},
		"a draft": {func(c caller) { c.draft(t, uuid.NewString(), memberText) }, func(c caller) string {
			_, drafts, _ := c.export(t)
			return strings.Join(drafts, "|")
		}, memberText},
		"a choice": {func(c caller) { c.prefer(t, &messagingpb.Preferences{Email: "choix@canari.example"}) }, func(c caller) string {
			resp, err := c.messaging.GetPreferences(c.call(t), &messagingpb.GetPreferencesRequest{})
			if err != nil {
				return err.Error()
			}
			return resp.GetPreferences().GetEmail()
		}, "choix@canari.example"},
	} {
		member := s.member(t, name)
		row.write(member.at(one))
		member.at(two).erase(t)
		row.write(member.at(one))
		for place, process := range map[string]*process{"the one that remembered": one, "the one that erased": two, "another": three} {
			if got := row.kept(member.at(process)); got != row.want {
				t.Errorf("%s, by %s: %q, want %q", name, place, got, row.want)
			}
		}
	}
	if n := s.count(t, `SELECT count(*) FROM member JOIN erased_member_key ON key_id = erased_member_key.id`); n != 0 {
		t.Errorf("%d members are reached by what an erased key has sealed", n)
	}
}

// Submissions that are under way while their member erases everything are either erased with the
// rest, or kept and readable; none is answered and then cannot be opened.
func TestErase_UnderSubmissions(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	one, two := s.start(t), s.start(t)
	here, there := s.member(t, "jeanne").at(one), s.member(t, "jeanne").at(two)
	stop, written := make(chan struct{}), make(chan []string)
	go func() {
		var ids []string
		defer func() { written <- ids }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			resp, err := here.messaging.SubmitMessage(here.call(t, uuid.NewString()), question())
			if err != nil {
				t.Errorf("a submission: %v", err)
				return
			}
			ids = append(ids, resp.GetConversation().GetId())
		}
	}()
	for range 5 {
		messagingtest.Eventually(t, "something is written", func() bool {
			return s.count(t, `SELECT count(*) FROM conversation WHERE member_id LIKE '%jeanne'`) > 2
		})
		there.erase(t)
	}
	close(stop)
	erased, kept := 0, 0
	for _, id := range <-written {
		got, err := there.messaging.GetConversation(there.call(t), &messagingpb.GetConversationRequest{Id: id})
		if err != nil {
			refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
			erased++
			continue
		}
		if got.GetConversation().GetMessages()[0].GetText() != memberText {
			t.Errorf("%s is kept without its text: %v", id, got)
		}
		kept++
	}
	if erased < 10 || s.count(t, `SELECT count(*) FROM conversation WHERE erased_at IS NULL AND key_id IN (SELECT id FROM erased_member_key)`) != 0 {
		t.Errorf("%d erased, %d kept, some of them under an erased key", erased, kept)
	}
	if n := s.count(t, `SELECT count(*) FROM erased_member_key WHERE ended_at IS NULL`); n != 0 {
		t.Errorf("%d erasures have not ended", n)
	}
}

// servers runs a stage on servers of its own.
func servers(t *testing.T) (s *stage, data, keys *localpg.Cluster) {
	t.Helper()
	s, data, keys = newStage(t), testenv.Cluster(t, ""), testenv.Cluster(t, "")
	for cluster, name := range map[*localpg.Cluster]string{data: "messaging", keys: "vault"} {
		if err := cluster.CreateDatabase(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	s.cfg.DatabaseURL, s.cfg.VaultURL = data.URL("messaging"), keys.URL("vault")
	return s, data, keys
}

// What a member has had erased opens from no copy of messaging's files of before, their WAL
// included, with today's vault and key set. Another member's does, so that the copy is a good
// one. A service that runs on it erases again before it answers; so does one on today's
// files with a vault of before.
func TestErase_OpensFromNoEarlierFiles(t *testing.T) {
	t.Parallel()
	s, data, keys := servers(t)
	s.start(t)
	jeanne, paul, claire := s.member(t, "jeanne"), s.member(t, "paul"), s.clerk(t, "claire")
	hers, his := jeanne.submit(t).GetId(), paul.submit(t).GetId()
	jeanne.draft(t, uuid.NewString(), memberText)
	jeanne.prefer(t, &messagingpb.Preferences{Email: "jeanne@canari.example"})
	for _, id := range []string{hers, his} {
		answer := &messagingpb.PostReplyRequest{Id: id, Text: agentText, LastMessageId: claire.read(t, id).GetLastMessageId()}
		if _, err := claire.agent.PostReply(claire.call(t, uuid.NewString()), answer); err != nil {
			t.Fatal(err)
		}
		if _, err := claire.note(t, id, noteText); err != nil {
			t.Fatal(err)
		}
		claire.begin(t, id, agentText, noteText)
	}
	jeanne.further(t, hers, memberText)
	s.stop()
	oldData, oldKeys := testenv.Cluster(t, stopped(t, data)), testenv.Cluster(t, stopped(t, keys))
	newData, newKeys := testenv.Cluster(t, data.Dir()), testenv.Cluster(t, keys.Dir())
	s.cfg.DatabaseURL, s.cfg.VaultURL = newData.URL("messaging"), newKeys.URL("vault")
	s.start(t)
	jeanne.at(s.process).erase(t)
	s.stop()

	lie := seals(t, messagingtest.Open(t, oldData.URL("messaging")))
	holder, err := vault.OpenKeyset(s.cfg.Keyset)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		url  string
		hers int
	}{"today's vault": {newKeys.URL("vault"), 0}, "the vault of before": {oldKeys.URL("vault"), len(lie["jeanne"])}} {
		all, err := vault.Everything(t.Context(), messagingtest.Open(t, want.url), holder)
		if err != nil {
			t.Fatal(err)
		}
		for member, sealed := range lie {
			opened := 0
			for _, one := range sealed {
				for _, key := range all {
					if text, err := one.open(key); err == nil && text != "" {
						opened++
					}
				}
			}
			expected := len(sealed)
			if member == "jeanne" {
				expected = want.hers
			}
			if opened != expected {
				t.Errorf("with %s, %d of the %d texts of %s open, want %d", name, opened, len(sealed), member, expected)
			}
		}
	}
	if !found(t, data.Dir(), "pg_wal", lie["jeanne"][0].body) {
		t.Error("the WAL of before does not have what she wrote: this test shows less than it says")
	}

	for name, cfg := range map[string][2]string{
		"messaging's files of before": {oldData.URL("messaging"), newKeys.URL("vault")},
		"the vault's files of before": {newData.URL("messaging"), oldKeys.URL("vault")},
	} {
		s.cfg.DatabaseURL, s.cfg.VaultURL = cfg[0], cfg[1]
		s.start(t)
		jeanne, paul := jeanne.at(s.process), paul.at(s.process)
		refused(t, second(jeanne.messaging.GetConversation(jeanne.call(t), &messagingpb.GetConversationRequest{Id: hers})), codes.NotFound, "CONVERSATION_NOT_FOUND", "")
		if _, drafts, texts := jeanne.export(t); len(drafts)+len(texts) != 0 {
			t.Errorf("%s: %v, %v", name, drafts, texts)
		}
		claire := claire.at(s.process)
		if list := claire.begun(t); len(list) != 1 || list[0].GetConversationId() != his || list[0].GetText() != agentText {
			t.Errorf("%s: an agent's drafts are %v", name, list)
		}
		if got := paul.see(t, his).GetMessages(); len(got) != 2 || got[0].GetText() != memberText {
			t.Errorf("%s, another member: %v", name, got)
		}
		again := jeanne.submit(t).GetId()
		if got := jeanne.see(t, again).GetMessages(); len(got) != 1 || got[0].GetText() != memberText {
			t.Errorf("%s, what she writes now: %v", name, got)
		}
		s.stop()
	}
}

// stopped ends a server and returns its folder.
func stopped(t *testing.T, cluster *localpg.Cluster) string {
	t.Helper()
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	return cluster.Dir()
}

// sealedText is a ciphertext of a member's with what opens it, given a key.
type sealedText struct {
	body []byte
	open func(vault.Key) (string, error)
}

// seals are all texts and contact points in a database, by their member.
func seals(t *testing.T, pool *pgxpool.Pool) map[string][]sealedText {
	t.Helper()
	type row struct {
		Member string    `db:"member_id"`
		Kind   string    `db:"kind"`
		ID     uuid.UUID `db:"id"`
		Within uuid.UUID `db:"conversation_id"`
		Author int16     `db:"author"`
		Body   []byte    `db:"body"`
	}
	rows, err := postgres.Many[row](t.Context(), pool, "reading", `
		SELECT c.member_id, 'message' AS kind, m.id, m.conversation_id, m.author, m.body FROM message m JOIN conversation c ON c.id = m.conversation_id
		UNION ALL SELECT c.member_id, 'note', n.id, n.conversation_id, 0::smallint, n.body FROM note n JOIN conversation c ON c.id = n.conversation_id
		UNION ALL SELECT member_id, 'draft', id, id, 0::smallint, body FROM draft
		UNION ALL SELECT c.member_id, 'begun', d.conversation_id, d.conversation_id, 0::smallint, d.body FROM agent_draft d JOIN conversation c ON c.id = d.conversation_id
		UNION ALL SELECT id, 'contact', gen_random_uuid(), gen_random_uuid(), 0::smallint, contact FROM member
		UNION ALL SELECT id, 'chosen', gen_random_uuid(), gen_random_uuid(), 0::smallint, chosen FROM member WHERE chosen IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]sealedText)
	for _, r := range rows {
		_, member, _ := strings.Cut(r.Member, ":")
		all[member] = append(all[member], sealedText{r.Body, func(key vault.Key) (string, error) {
			texts, err := key.Texts(r.Within)
			if err != nil {
				return "", err
			}
			switch r.Kind {
			case "message":
				return texts.OpenMessage(r.ID, r.Author, r.Body)
			case "note":
				return texts.OpenNote(r.ID, r.Body)
			case "draft":
				return key.OpenDraft(r.ID, r.Body)
			case "begun":
				return texts.OpenBegun(vault.BegunReply, "agent:claire", r.Body)
			}
			contact, err := key.OpenContact(vault.Source(r.Kind), r.Body)
			return contact.Email, err
		}})
	}
	if len(all["jeanne"]) != 8 || len(all["paul"]) != 5 {
		t.Fatalf("%d and %d texts", len(all["jeanne"]), len(all["paul"]))
	}
	return all
}

// found reports whether files of a server have some bytes.
func found(t *testing.T, dir, part string, wanted []byte) (has bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(path, part) {
			return err
		}
		content, err := os.ReadFile(path)
		has = has || bytes.Contains(content, wanted)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return has
}
