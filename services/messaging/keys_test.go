package messaging

import (
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// The heavy form: go test -run TestKeys_RotationUnderLoad -v -timeout 30m ./services/messaging -args -members 100000 -rate 200
var (
	membersBefore = flag.Int("members", 600, "members with a key before the rotation")
	perSecond     = flag.Int("rate", 40, "submissions a second while keys are rotated")
)

// keysetFile is the file of a key set that is rotated.
type keysetFile struct {
	*keyset.Manager
	path string
}

func newKeysetFile(t *testing.T) *keysetFile {
	t.Helper()
	f := &keysetFile{keyset.NewManager(), filepath.Join(t.TempDir(), "keyset.json")}
	f.promote(t, f.add(t))
	return f
}

func (f *keysetFile) add(t *testing.T) uint32 {
	t.Helper()
	id, err := f.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.path); err == nil {
		f.write(t)
	}
	return id
}

func (f *keysetFile) promote(t *testing.T, id uint32) {
	t.Helper()
	if err := f.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	f.write(t)
}

func (f *keysetFile) remove(t *testing.T, id uint32) {
	t.Helper()
	if err := f.Delete(id); err != nil {
		t.Fatal(err)
	}
	f.write(t)
}

// write replaces the file in one step.
func (f *keysetFile) write(t *testing.T) {
	t.Helper()
	handle, err := f.Handle()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path+".new", out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		t.Fatal(err)
	}
}

// rotating is a stage whose processes read a key set from a file.
func rotating(t *testing.T) (*stage, *keysetFile) {
	t.Helper()
	s, file := newStage(t), newKeysetFile(t)
	s.cfg.Keyset, s.cfg.KeysetPath, s.cfg.KeysetEvery = "", file.path, 50*time.Millisecond
	if err := s.cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return s, file
}

// wrappers are the keys by their ids, with the answer that they are from.
func wrappers(t *testing.T, client messagingpb.OperatorServiceClient, ctx context.Context) (map[uint32]*messagingpb.WrappingKey, *messagingpb.GetKeysResponse) { //nolint:revive // as the clients
	t.Helper()
	resp, err := client.GetKeys(ctx, &messagingpb.GetKeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[uint32]*messagingpb.WrappingKey)
	for _, key := range resp.GetKeys() {
		keys[key.GetId()] = key
	}
	return keys, resp
}

// rewrap calls RewrapKeys until there is nothing more, and returns how many keys it was.
func rewrap(t *testing.T, client messagingpb.OperatorServiceClient, ctx context.Context) (n int) { //nolint:revive // as the clients
	t.Helper()
	req := &messagingpb.RewrapKeysRequest{}
	for {
		resp, err := client.RewrapKeys(ctx, req)
		if err != nil || resp.GetUnopened() > 0 {
			t.Fatal(resp, err)
		}
		n += int(resp.GetRewrapped())
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return n
		}
	}
}

// load submits at a rate, from two processes, by members who wrote before and by new ones, until
// stopped. What was answered is in written.
type load struct {
	mu      sync.Mutex
	written map[string]string // member by conversation
	failed  atomic.Int64
	answers atomic.Int64
}

func (l *load) run(ctx context.Context, t *testing.T, s *stage, processes ...*process) {
	ticker := time.NewTicker(time.Second / time.Duration(*perSecond))
	defer ticker.Stop()
	var group errgroup.Group
	group.SetLimit(64)
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			_ = group.Wait()
			return
		case <-ticker.C:
		}
		name := fmt.Sprint("member ", n%(*membersBefore))
		if n%3 == 0 {
			name = fmt.Sprint("new ", n)
		}
		who := s.member(t, name).at(processes[n%len(processes)])
		group.Go(func() error {
			resp, err := who.messaging.SubmitMessage(who.call(t, uuid.NewString()), question())
			if err != nil {
				l.failed.Add(1)
				t.Errorf("a submission of %s: %v", name, err)
				return nil
			}
			l.answers.Add(1)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.written[resp.GetConversation().GetId()] = name
			return nil
		})
	}
}

// A key is added, becomes the one that wraps, all is wrapped by it, and the one before it goes,
// while members go on writing through two processes: none of them notices, and all opens by the
// new key alone.
func TestKeys_RotationUnderLoad(t *testing.T) {
	t.Parallel()
	s, file := rotating(t)
	one, two := s.start(t), s.start(t)
	s.fillVault(t, file, *membersBefore)
	operators, olga := s.operators(t), s.clerk(t, "olga", map[string]any{"roles": []string{auth.RoleOperator}}).call(t)
	old := uint32(0)
	if keys, resp := wrappers(t, operators, olga); len(keys) == 1 && resp.GetFit().GetProcesses() == 2 && resp.GetFit().GetCheckValueOpens() {
		old = resp.GetFit().GetPrimaryKeyId()
	}
	if old == 0 {
		t.Fatal("the processes do not say which keys they have")
	}

	l := &load{written: make(map[string]string)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); l.run(ctx, t, s, one, two) }()
	goOn := func() {
		t.Helper()
		from := l.answers.Load()
		messagingtest.Eventually(t, "members go on", func() bool { return l.answers.Load() >= from+20 })
	}
	until := func(what string, holds func(map[uint32]*messagingpb.WrappingKey) bool) {
		t.Helper()
		messagingtest.Eventually(t, what, func() bool { keys, _ := wrappers(t, operators, olga); return holds(keys) })
		goOn()
	}
	goOn()
	fresh := file.add(t)
	until("both have the new key", func(keys map[uint32]*messagingpb.WrappingKey) bool { return keys[fresh].GetProcesses() == 2 })
	file.promote(t, fresh)
	until("both wrap by it", func(keys map[uint32]*messagingpb.WrappingKey) bool { return keys[fresh].GetPrimaryOf() == 2 })
	began := time.Now()
	n := rewrap(t, operators, olga)
	t.Logf("%d keys wrapped anew in %s", n, time.Since(began))
	if keys, resp := wrappers(t, operators, olga); n < *membersBefore || keys[old].GetMemberKeys() != 0 || keys[old].GetCheckValue() || !keys[fresh].GetCheckValue() || resp.GetFit().GetProcessesWithoutPrimary() != 0 {
		t.Errorf("%d wrapped anew: %v", n, resp)
	}
	file.remove(t, old)
	until("nobody has the old key", func(keys map[uint32]*messagingpb.WrappingKey) bool { return keys[old] == nil })
	stop()
	<-ended
	if l.failed.Load() > 0 {
		t.Errorf("%d of %d submissions failed", l.failed.Load(), l.failed.Load()+l.answers.Load())
	}
	t.Logf("%d submissions, %d failed", l.answers.Load(), l.failed.Load())
	one.stop()
	two.stop()

	three := s.start(t)
	for id, name := range l.written {
		if got := s.member(t, name).at(three).see(t, id).GetMessages(); len(got) != 1 || got[0].GetText() != memberText {
			t.Fatalf("%s of %s: %v", id, name, got)
		}
	}
	alone, err := vault.ReadKeyset(file.path, vault.OpenKeyset)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := vault.Everything(t.Context(), messagingtest.Open(t, s.cfg.VaultURL), alone); err != nil || len(all) < *membersBefore {
		t.Errorf("%d keys open by the new one alone: %v", len(all), err)
	}
}

// fillVault makes keys of members.
func (s *stage) fillVault(t *testing.T, file *keysetFile, members int) {
	t.Helper()
	keys, err := vault.ReadKeyset(file.path, vault.OpenKeyset)
	if err != nil {
		t.Fatal(err)
	}
	v := vault.New(vault.Config{DB: messagingtest.Open(t, s.cfg.VaultURL), Data: s.pool, Keyset: keys})
	if _, err := v.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = v.Run(ctx) }()
	var group errgroup.Group
	group.SetLimit(500)
	for n := range members {
		group.Go(func() error {
			_, err := v.Of(ctx, fmt.Sprintf("%s:member %d", auth.RealmMember, n))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	end()
	<-ended
}

// A process whose key set is not the vault's ends at once and says so; one whose file becomes
// wrong goes on, and says so once.
func TestKeys_WrongKeyset(t *testing.T) {
	t.Parallel()
	s, file := rotating(t)
	s.start(t)
	jeanne := s.member(t, "jeanne")
	id := jeanne.submit(t).GetId()
	warned := func() int { return strings.Count(logs.String(), file.path) }
	newKeysetFile(t).copyTo(t, file.path)
	messagingtest.Eventually(t, "it is said", func() bool { return warned() > 0 })
	for range 3 {
		jeanne.submit(t)
	}
	if got := jeanne.see(t, id).GetMessages(); len(got) != 1 || got[0].GetText() != memberText {
		t.Errorf("%v", got)
	}
	s.stop()
	if n := warned(); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	if err := Run(t.Context(), s.cfg); err == nil || !strings.Contains(err.Error(), "does not fit this vault") {
		t.Errorf("a process with another key set: %v", err)
	}
	file.write(t)
	s.start(t)
	if got := jeanne.at(s.process).see(t, id).GetMessages(); len(got) != 1 || got[0].GetText() != memberText {
		t.Errorf("%v", got)
	}
}

// copyTo replaces another file by this one.
func (f *keysetFile) copyTo(t *testing.T, path string) {
	t.Helper()
	if err := os.Rename(f.path, path); err != nil {
		t.Fatal(err)
	}
}

// What operators ask names no member, and is theirs alone.
func TestKeys_Operator(t *testing.T) {
	t.Parallel()
	s := running(t)
	client, olga := s.operators(t), s.clerk(t, "olga", map[string]any{"roles": []string{auth.RoleOperator}}).call(t)
	jeanne := s.member(t, "jeanne")
	jeanne.submit(t)
	jeanne.draft(t, uuid.NewString(), memberText)
	vaultPool := messagingtest.Open(t, s.cfg.VaultURL)
	if _, err := vaultPool.Exec(t.Context(), `INSERT INTO member_key (member, id, wrapped, made_at) SELECT 'left ' || n, gen_random_uuid(), '', now() - interval '2 days' FROM generate_series(1, 30) n`); err != nil {
		t.Fatal(err)
	}
	reconcile := func() (all *messagingpb.ReconcileKeysResponse) {
		t.Helper()
		all = &messagingpb.ReconcileKeysResponse{}
		req := &messagingpb.ReconcileKeysRequest{}
		for pages := 0; ; pages++ {
			resp, err := client.ReconcileKeys(olga, req)
			if err != nil || pages > 10 {
				t.Fatal(pages, err)
			}
			if raw, err := base64.RawURLEncoding.DecodeString(resp.GetNextPageToken()); err != nil || bytes.Contains(raw, []byte("left")) || bytes.Contains(raw, []byte("jeanne")) {
				t.Errorf("a token names a member: %q, %v", raw, err)
			}
			all.UnusedKeys += resp.GetUnusedKeys()
			all.RowsWithoutKey += resp.GetRowsWithoutKey()
			all.UnusedKeyIds = append(all.UnusedKeyIds, resp.GetUnusedKeyIds()...)
			all.MissingKeyIds = append(all.MissingKeyIds, resp.GetMissingKeyIds()...)
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				return all
			}
		}
	}
	if got := reconcile(); got.GetUnusedKeys() != 30 || len(got.GetUnusedKeyIds()) != 20 || got.GetRowsWithoutKey() != 0 {
		t.Errorf("%v", got)
	}
	if _, err := vaultPool.Exec(t.Context(), `DELETE FROM member_key`); err != nil {
		t.Fatal(err)
	}
	// A conversation, a draft and the contact points.
	if got := reconcile(); got.GetUnusedKeys() != 0 || got.GetRowsWithoutKey() != 3 || len(got.GetMissingKeyIds()) == 0 {
		t.Errorf("%v", got)
	}
	for _, token := range []string{"x", base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 60))} {
		refused(t, second(client.ReconcileKeys(olga, &messagingpb.ReconcileKeysRequest{PageToken: token})), codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
		refused(t, second(client.RewrapKeys(olga, &messagingpb.RewrapKeysRequest{PageToken: token})), codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
	}
	for name, c := range map[string]caller{"member": jeanne, "agent": s.clerk(t, "paul"), "machine": s.machine(t)} {
		for call, err := range map[string]error{
			"GetKeys":       second(client.GetKeys(c.call(t), &messagingpb.GetKeysRequest{})),
			"RewrapKeys":    second(client.RewrapKeys(c.call(t), &messagingpb.RewrapKeysRequest{})),
			"ReconcileKeys": second(client.ReconcileKeys(c.call(t), &messagingpb.ReconcileKeysRequest{})),
		} {
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s by a %s: %v", call, name, err)
			}
		}
	}
	resp, err := client.GetStatus(olga, &messagingpb.GetStatusRequest{})
	if err != nil || !resp.GetKeys().GetCheckValueOpens() || resp.GetKeys().GetProcesses() != 1 || resp.GetKeys().GetProcessesWithoutPrimary() != 0 || resp.GetKeys().GetPrimaryKeyId() == 0 {
		t.Errorf("%v, %v", resp.GetKeys(), err)
	}
	jeanne.erase(t)
	if _, got := wrappers(t, client, olga); got.GetErasures() != 1 || got.GetOpenErasures() != 0 || got.GetPartsToRewrite() != 0 {
		t.Errorf("%v", got)
	}
}
