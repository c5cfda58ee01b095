package messaging

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// The limits of templates, as messaging.proto documents them.
const (
	maxTemplates  = 200
	maxTitleChars = 80
)

// supervisor is an agent who may also keep templates.
func (s *stage) supervisor(t *testing.T, name string, claims ...map[string]any) caller {
	t.Helper()
	return s.clerk(t, name, append([]map[string]any{{"roles": []string{auth.RoleAgent, auth.RoleSupervisor}}}, claims...)...)
}

func (c caller) template(t *testing.T, id, title, text, queue string) (*messagingpb.Template, error) {
	t.Helper()
	resp, err := c.agent.SaveTemplate(c.call(t), &messagingpb.SaveTemplateRequest{Id: id, Title: title, Text: text, Queue: queue})
	return resp.GetTemplate(), err
}

func (c caller) titles(t *testing.T, queue string) (list []string) {
	t.Helper()
	resp, err := c.agent.ListTemplates(c.call(t), &messagingpb.ListTemplatesRequest{Queue: queue})
	if err != nil {
		t.Fatal(err)
	}
	for _, template := range resp.GetTemplates() {
		list = append(list, template.GetTitle())
	}
	return list
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	s := running(t)
	sonia, claire := s.supervisor(t, "sonia"), s.clerk(t, "claire")
	far := s.supervisor(t, "far", map[string]any{"caisse": "msa-44"})
	if got := claire.titles(t, ""); got != nil {
		t.Errorf("nothing there: %v", got)
	}
	id := uuid.NewString()
	saved, err := sonia.template(t, id, " Zone\n agricole ", "Bonjour,\r\nvotre message {{reference}} ", "famille")
	if err != nil || saved.GetId() != id || saved.GetTitle() != "Zone agricole" || saved.GetText() != "Bonjour,\nvotre message {{reference}}" || saved.GetQueue() != "famille" || !saved.GetUpdateTime().IsValid() {
		t.Fatalf("%v, %v", saved, err)
	}
	for title, queue := range map[string]string{"Écrêtement": "", "accusé": "sante", "Fin": ""} {
		if _, err := sonia.template(t, uuid.NewString(), title, "Texte", queue); err != nil {
			t.Fatal(err)
		}
	}
	// The same id is another template at another caisse.
	if _, err := far.template(t, id, "Ailleurs", "Texte", ""); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		queue string
		want  []string
	}{
		{"", []string{"accusé", "Écrêtement", "Fin", "Zone agricole"}},
		{"famille", []string{"Écrêtement", "Fin", "Zone agricole"}},
		{"nowhere", []string{"Écrêtement", "Fin"}},
	} {
		if got := claire.titles(t, test.queue); !slices.Equal(got, test.want) {
			t.Errorf("for %q: %v, want %v", test.queue, got, test.want)
		}
	}
	again, err := sonia.template(t, id, "Baux", "Autre texte", "")
	if err != nil || again.GetText() != "Autre texte" || again.GetQueue() != "" || !again.GetUpdateTime().AsTime().After(saved.GetUpdateTime().AsTime()) {
		t.Errorf("replaced: %v, %v", again, err)
	}
	for range 2 { // the second time there is none
		if _, err := sonia.agent.DeleteTemplate(sonia.call(t), &messagingpb.DeleteTemplateRequest{Id: id}); err != nil {
			t.Error(err)
		}
	}
	if got := claire.titles(t, ""); !slices.Equal(got, []string{"accusé", "Écrêtement", "Fin"}) {
		t.Errorf("after: %v", got)
	}
	if got := far.titles(t, ""); !slices.Equal(got, []string{"Ailleurs"}) {
		t.Errorf("the other caisse has %v", got)
	}
}

func TestTemplate_Refused(t *testing.T) {
	t.Parallel()
	s := running(t)
	sonia := s.supervisor(t, "sonia")
	for _, test := range []struct{ name, title, text, queue, reason, field string }{
		{"no title", "", "a", "", "REQUIRED", "title"},
		{"blank title", " \t", "a", "", "TITLE_INVALID", "title"},
		{"invisible title", "\u200b", "a", "", "TITLE_INVALID", "title"},
		{"title with NUL", "a\x00b", "a", "", "", ""},
		{"title of NUL", "\x00", "a", "", "TITLE_INVALID", "title"},
		{"title of 80", strings.Repeat("é", 80), "a", "", "", ""},
		{"title of 81", strings.Repeat("é", 81), "a", "", "TOO_LONG", "title"},
		{"no text", "a", "", "", "REQUIRED", "text"},
		{"blank text", "a", " \n", "", "BODY_TOO_SHORT", "text"},
		{"text of 5000", "a", strings.Repeat("é", 5000), "", "", ""},
		{"text of 5001", "a", strings.Repeat("é", 5001), "", "TOO_LONG", "text"},
		{"text with an override", "a", "a\u202eb", "", "", ""},
		{"unknown variable", "a", "a {{nom}}", "", "TEMPLATE_VARIABLE_UNKNOWN", "text"},
		{"unknown variable in what is too long", "a", "{{nom}}" + strings.Repeat("é", 5001), "", "TOO_LONG", "text"},
		{"a queue", "a", "a", "sante", "", ""},
		{"unknown queue", "a", "a", "nowhere", "QUEUE_UNKNOWN", "queue"},
	} {
		_, err := sonia.template(t, uuid.NewString(), test.title, test.text, test.queue)
		if test.reason != "" {
			t.Log(test.name)
			refused(t, err, codes.InvalidArgument, test.reason, test.field)
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	_, err := sonia.template(t, "x", "a", "a", "")
	refused(t, err, codes.InvalidArgument, "UUID_INVALID", "id")
	_, err = s.clerk(t, "claire").template(t, uuid.NewString(), "a", "a", "")
	refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
	_, err = s.clerk(t, "claire").agent.DeleteTemplate(s.clerk(t, "claire").call(t), &messagingpb.DeleteTemplateRequest{Id: uuid.NewString()})
	refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
	_, err = s.supervisor(t, "nobody", map[string]any{"caisse": ""}).template(t, uuid.NewString(), "a", "a", "")
	refused(t, err, codes.FailedPrecondition, "CAISSE_UNKNOWN", "")
	if n := s.count(t, `SELECT count(*) FROM template`); n != 5 {
		t.Errorf("%d templates", n)
	}
}

// What stands in double braces is filled in by whoever uses the template, or is refused.
func TestTemplate_Variables(t *testing.T) {
	t.Parallel()
	s := running(t)
	sonia := s.supervisor(t, "sonia")
	const known = "{{reference}}, {{theme}}, {{topic}}, {{reason}}, {{date}}"
	for _, test := range []struct{ text, stored, variable string }{
		{"Votre message {{reference}} du {{date}} : {{theme}}, {{topic}}, {{reason}}", "", ""},
		{"{{reference}}{{reference}}{{date}}", "", ""},
		{"{{ reference }} et {{\u00a0date\t}}", "{{reference}} et {{date}}", ""},
		{"{reference} {} { } }{ {a {b}} c", "", "}}"},
		{"{reference} {} { } }{ {a {b} } c", "", ""},
		{"{{nom}}", "", "{{nom}}"},
		{"{{date}} {{nom}} {{prénom}}", "", "{{nom}}"}, // the first, as of any field
		{"{{Reference}}", "", "{{Reference}}"},
		{"{{date du jour}}", "", "{{date du jour}}"},
		{"{{}}", "", "{{}}"},
		{"{{ }}", "", "{{ }}"},
		{"a {{date", "", "{{date"},
		{"a {{", "", "{{"},
		{"a {{date}, b", "", "{{date}"},
		{"a {{date\n}}", "", "{{date"},
		{"a {{dat {{date}}", "", "{{dat "},
		{"{{{date}}}", "", "{{{date}}}"},
		{"{{date}}}", "", "{{date}}}"},
		{"{{{date}}", "", "{{{date}}"},
		{"{ {{date}} }", "", ""},
		{"{date}}", "", "}}"},
		{"{{\ufb01n}}", "", "{{\ufb01n}}"},
		{"{{e\u0301}}", "", "{{é}}"}, // NFC
		{"{{" + strings.Repeat("é", 50) + "}}", "", "{{" + strings.Repeat("é", 38)},
	} {
		stored, err := sonia.template(t, uuid.NewString(), "a", test.text, "")
		switch {
		case test.variable != "":
			meta := refused(t, err, codes.InvalidArgument, "TEMPLATE_VARIABLE_UNKNOWN", "text")
			if meta["variable"] != test.variable || meta["known"] != known {
				t.Errorf("%q: metadata %q", test.text, meta)
			}
		case err != nil || stored.GetText() != cmp.Or(test.stored, test.text):
			t.Errorf("%q is stored as %q, %v", test.text, stored.GetText(), err)
		}
	}
	// What an earlier version has stored is listed as it is.
	if _, err := s.pool.Exec(t.Context(), `DELETE FROM template`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO template (caisse, id, title, text, updated_by) VALUES ('msa-75', gen_random_uuid(), 'Ancien', 'a {{nom}}', 'x')`); err != nil {
		t.Fatal(err)
	}
	resp, err := sonia.agent.ListTemplates(sonia.call(t), &messagingpb.ListTemplatesRequest{})
	if err != nil || len(resp.GetTemplates()) != 1 || resp.GetTemplates()[0].GetText() != "a {{nom}}" {
		t.Errorf("stored before: %v, %v", resp, err)
	}
}

// Two supervisors at once do not get past the limit, and a full caisse can still
// change what it has.
func TestTemplate_Limit(t *testing.T) {
	t.Parallel()
	s := running(t)
	sonia, far := s.supervisor(t, "sonia"), s.supervisor(t, "far", map[string]any{"caisse": "msa-44"})
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO template (caisse, id, title, text, updated_by)
		SELECT 'msa-75', gen_random_uuid(), 'Titre ' || n, 'Texte', 'agent:sonia' FROM generate_series(1, $1) n`, maxTemplates-1); err != nil {
		t.Fatal(err)
	}
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	last := uuid.New()
	for _, sql := range []string{
		`SELECT pg_advisory_xact_lock(hashtextextended('template msa-75', 0)) WHERE $1::uuid IS NOT NULL`,
		`INSERT INTO template (caisse, id, title, text, updated_by) VALUES ('msa-75', $1, 'Dernier', 'Texte', 'agent:samir')`,
	} {
		if _, err := tx.Exec(t.Context(), sql, last); err != nil {
			t.Fatal(err)
		}
	}
	answer := make(chan error, 1)
	go func() {
		_, err := s.agent.SaveTemplate(sonia.call(t), &messagingpb.SaveTemplateRequest{Id: uuid.NewString(), Title: "De trop", Text: "Texte"})
		answer <- err
	}()
	s.blocked(t)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if meta := refused(t, <-answer, codes.FailedPrecondition, "TEMPLATES_TOO_MANY", ""); meta["limit"] != "200" {
		t.Errorf("metadata %v", meta)
	}
	kept := last.String()
	if _, err := sonia.template(t, kept, "Changé", "Texte", ""); err != nil {
		t.Errorf("changing one of them: %v", err)
	}
	if _, err := far.template(t, uuid.NewString(), "Ailleurs", "Texte", ""); err != nil {
		t.Errorf("another caisse: %v", err)
	}
	if _, err := sonia.agent.DeleteTemplate(sonia.call(t), &messagingpb.DeleteTemplateRequest{Id: kept}); err != nil {
		t.Fatal(err)
	}
	if _, err := sonia.template(t, uuid.NewString(), "Place", "Texte", ""); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
	if got := sonia.titles(t, ""); len(got) != maxTemplates {
		t.Errorf("%d are listed", len(got))
	}
}

func TestTemplates_Pages(t *testing.T) {
	t.Parallel()
	s := running(t)
	sonia, claire := s.supervisor(t, "sonia"), s.clerk(t, "claire")
	ids := make(map[string]string)
	longest := strings.Repeat("\U00020000", maxTitleChars) // four bytes each: its token is the longest
	want := []string{"accusé", "Écrêtement", "Fin", "Fin", "Zone", longest}
	for _, title := range want {
		ids[title] = uuid.NewString()
		if _, err := sonia.template(t, ids[title], title, "Texte", ""); err != nil {
			t.Fatal(err)
		}
	}
	page := func(size int32, token string) (titles []string, next string) {
		t.Helper()
		resp, err := claire.agent.ListTemplates(claire.call(t), &messagingpb.ListTemplatesRequest{PageSize: size, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, template := range resp.GetTemplates() {
			titles = append(titles, template.GetTitle())
		}
		return titles, resp.GetNextPageToken()
	}
	var got, tokens []string
	for token := ""; len(got) <= len(want); {
		titles, next := page(1, token)
		if got, token = append(got, titles...), next; token == "" {
			break
		}
		tokens = append(tokens, token)
	}
	if !slices.Equal(got, want) {
		t.Errorf("one by one: %q, want %q", got, want)
	}
	// The one that a page begins behind may be gone.
	if _, err := sonia.agent.DeleteTemplate(sonia.call(t), &messagingpb.DeleteTemplateRequest{Id: ids["Écrêtement"]}); err != nil {
		t.Fatal(err)
	}
	if titles, next := page(3, tokens[1]); !slices.Equal(titles, want[2:5]) || next == "" {
		t.Errorf("behind one that is gone: %q, %q", titles, next)
	}
	if titles, next := page(1, tokens[len(tokens)-1]); !slices.Equal(titles, want[5:]) || next != "" {
		t.Errorf("the last: %q, %q", titles, next)
	}
	made := auth.NewContext(t.Context(), &auth.Identity{Subject: "agent:claire"})
	id := uuid.MustParse(ids[longest])
	last := rpc.PageToken(made, &messagingpb.ListTemplatesRequest{}, append(id[:], longest...))
	if titles, next := page(1, last); titles != nil || next != "" {
		t.Errorf("behind the last: %q, %q", titles, next)
	}
	short := rpc.PageToken(made, &messagingpb.ListTemplatesRequest{}, id[:15])
	_, err := claire.agent.ListTemplates(claire.call(t), &messagingpb.ListTemplatesRequest{PageToken: short})
	refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
	_, err = claire.agent.ListTemplates(claire.call(t), &messagingpb.ListTemplatesRequest{PageToken: tokens[0], Queue: "sante"})
	refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
}
