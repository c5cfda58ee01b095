// Package template keeps the fund's templates of replies.
package template

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/text/collate"
	"golang.org/x/text/language"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

const (
	// maxTemplates bounds a caisse's templates, which are read whole for each page.
	maxTemplates = 200
	// maxTitleChars bounds a title.
	maxTitleChars = 80
	// maxVariableChars is how much of an unknown variable a refusal names.
	maxVariableChars = 40
)

// templateVariables are what a template's text may leave open, {{reference}} and so on, to be
// filled in by whoever uses it: messaging.proto promises them.
var templateVariables = []string{"reference", "theme", "topic", "reason", "date"}

// variables is whatever may be meant for one: two braces or more that open, what follows on
// the line, and those that close; or two or more that close nothing. Single ones are text.
var variables = regexp.MustCompile(`\{{2,}[^{}\n]*\}*|\}{2,}`)

var errTemplateLimit = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_TEMPLATES_TOO_MANY,
	fmt.Sprintf("the caisse has %d templates, which is the most; delete one first", maxTemplates), "limit", strconv.Itoa(maxTemplates))

// template is what an agent gives of a row of the table template.
type template struct {
	ID    uuid.UUID `db:"id"`
	Title string    `db:"title"`
	Text  string    `db:"text"`
	Queue string    `db:"queue"`
}

// savedTemplate is a template with who saves it for whom.
type savedTemplate struct {
	Caisse string `db:"caisse"`
	template
	UpdatedBy string `db:"updated_by"`
}

// templateRow is a row of the table template.
type templateRow struct {
	template
	UpdatedAt time.Time `db:"updated_at"`
}

var (
	savedTemplates  = postgres.RowsOf[savedTemplate]()
	templateColumns = postgres.Columns[templateRow]()
)

// Templates are the calls of AgentService about templates.
type Templates struct {
	DB       *pgxpool.Pool
	Taxonomy *taxonomy.Versions
}

// CheckWhole registers the checks that the calls make themselves, to run also for a request that
// breaks rules of its .proto: the caller gets all faults at once.
func (s *Templates) CheckWhole(to *rpc.Server) {
	rpc.AlsoCheck(to, func(ctx context.Context, req *messagingpb.SaveTemplateRequest) []rpc.Violation {
		_, badTitle := titleOf(req.GetTitle())
		_, badText := templateText(req.GetText())
		return rpc.FaultsOf(badTitle, s.Taxonomy.CheckQueue(ctx, req.GetQueue()), badText)
	})
}

// ListTemplates returns the caisse's templates, by title as a French reader
// expects it.
func (s *Templates) ListTemplates(ctx context.Context, req *messagingpb.ListTemplatesRequest) (*messagingpb.ListTemplatesResponse, error) {
	after, err := templateBefore(ctx, req)
	if err != nil {
		return nil, err
	}
	rows, err := s.templates(ctx, auth.FromContext(ctx).Caisse, req.GetQueue())
	if err != nil {
		return nil, err
	}
	french := collate.New(language.French)
	compare := func(a, b *templateRow) int {
		return cmp.Or(french.CompareString(a.Title, b.Title), slices.Compare(a.ID[:], b.ID[:]))
	}
	slices.SortFunc(rows, func(a, b templateRow) int { return compare(&a, &b) })
	shown, more := page.Cut(rows, req.GetPageSize(), maxTemplates, func(row templateRow) bool { return after == nil || compare(&row, after) > 0 })
	resp := &messagingpb.ListTemplatesResponse{}
	for i := range shown {
		resp.Templates = append(resp.Templates, templateOf(&shown[i]))
	}
	if more {
		last := shown[len(shown)-1]
		resp.NextPageToken = rpc.PageToken(ctx, req, append(last.ID[:], last.Title...))
	}
	return resp, nil
}

// templateBefore is the template that a page begins behind, as far as its place in the list goes; nil
// for the first page.
func templateBefore(ctx context.Context, req rpc.ListRequest) (*templateRow, error) {
	key, err := rpc.PageKey(ctx, req)
	if err != nil || key == nil {
		return nil, err
	}
	if len(key) < len(uuid.UUID{}) {
		return nil, rpc.ErrPageToken
	}
	return &templateRow{template: template{ID: uuid.UUID(key[:len(uuid.UUID{})]), Title: string(key[len(uuid.UUID{}):])}}, nil
}

// SaveTemplate stores a template, in the form in which a reply's text is counted
// and stored, and its variables without white space in their braces.
func (s *Templates) SaveTemplate(ctx context.Context, req *messagingpb.SaveTemplateRequest) (*messagingpb.SaveTemplateResponse, error) {
	id := auth.FromContext(ctx)
	if !conversation.ValidCaisse(id.Caisse) {
		return nil, conversation.ErrNoCaisse
	}
	title, badTitle := titleOf(req.GetTitle())
	body, badText := templateText(req.GetText())
	if err := rpc.JoinFaults(badTitle, badText, s.Taxonomy.CheckQueue(ctx, req.GetQueue())); err != nil {
		return nil, err
	}
	row, err := s.saveTemplate(ctx, savedTemplate{
		Caisse: id.Caisse, UpdatedBy: id.Subject,
		template: template{ID: uuid.MustParse(req.GetId()), Title: title, Text: body, Queue: req.GetQueue()},
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.SaveTemplateResponse{Template: templateOf(&row)}, nil
}

// DeleteTemplate deletes a template of the caisse, if it is there.
func (s *Templates) DeleteTemplate(ctx context.Context, req *messagingpb.DeleteTemplateRequest) (*messagingpb.DeleteTemplateResponse, error) {
	if err := s.deleteTemplate(ctx, auth.FromContext(ctx).Caisse, uuid.MustParse(req.GetId())); err != nil {
		return nil, err
	}
	return &messagingpb.DeleteTemplateResponse{}, nil
}

// titleOf puts a title on one line and refuses what may not be in a text either.
func titleOf(raw string) (string, error) {
	written, err := text.Limits{Min: 1, Max: maxTitleChars}.Normalise(strings.Join(strings.Fields(raw), " "))
	var refusal *rpc.Error
	if errors.As(err, &refusal) {
		return "", rpc.Invalid("title", errorpb.ErrorReason_TITLE_INVALID,
			fmt.Sprintf("a title has 1 to %d visible characters", maxTitleChars), "limit", strconv.Itoa(maxTitleChars))
	}
	return written.Body, err
}

// templateText returns the text as it is stored, or what is wrong with it first. A member would
// read a variable that nobody fills in, or half of one.
func templateText(raw string) (string, error) {
	written, err := text.OfAgent.Normalise(raw)
	if err != nil {
		return "", err
	}
	var unknown string
	body := variables.ReplaceAllStringFunc(written.Body, func(found string) string {
		name, closed := strings.CutSuffix(strings.TrimPrefix(found, "{{"), "}}")
		if name = strings.TrimSpace(name); closed && slices.Contains(templateVariables, name) {
			return "{{" + name + "}}"
		}
		unknown = cmp.Or(unknown, found)
		return found
	})
	if unknown == "" {
		return body, nil
	}
	if chars := []rune(unknown); len(chars) > maxVariableChars {
		unknown = string(chars[:maxVariableChars])
	}
	known := "{{" + strings.Join(templateVariables, "}}, {{") + "}}"
	return "", rpc.Invalid("text", errorpb.ErrorReason_TEMPLATE_VARIABLE_UNKNOWN,
		"in double braces a template has "+known+" and nothing else", "variable", unknown, "known", known)
}

func templateOf(row *templateRow) *messagingpb.Template {
	return &messagingpb.Template{
		Id: row.ID.String(), Title: row.Title, Text: row.Text, Queue: row.Queue, UpdateTime: timestamppb.New(row.UpdatedAt),
	}
}

// templates returns a caisse's templates: those for a queue and those for all, or
// every one when no queue is given.
func (s *Templates) templates(ctx context.Context, caisse, queue string) ([]templateRow, error) {
	return postgres.Many[templateRow](ctx, s.DB, "listing templates",
		`SELECT `+templateColumns+` FROM template WHERE caisse = $1 AND ($2 = '' OR queue IN ('', $2))`, caisse, queue)
}

var saveTemplateSQL = `
	INSERT INTO template (` + savedTemplates.Columns() + `)
	SELECT * FROM ` + savedTemplates.From("given", 2) + `
	WHERE EXISTS (SELECT FROM template AS t WHERE t.caisse = given.caisse AND t.id = given.id)
	   OR (SELECT count(*) FROM template AS t WHERE t.caisse = given.caisse) < $1
	ON CONFLICT (caisse, id) DO UPDATE SET ` + savedTemplates.Excluded("caisse", "id") + `, updated_at = now()
	RETURNING ` + templateColumns

// saveTemplate stores or replaces a template. It takes its turn among those who save for the
// same caisse, or two could both be the last that is allowed.
func (s *Templates) saveTemplate(ctx context.Context, row savedTemplate) (stored templateRow, err error) {
	err = pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		if _, err := postgres.Exec(ctx, tx, "waiting for a caisse's templates", `SELECT pg_advisory_xact_lock(hashtextextended('template ' || $1, 0))`, row.Caisse); err != nil {
			return err
		}
		stored, err = postgres.One[templateRow](ctx, tx, "storing a template", saveTemplateSQL, savedTemplates.Args([]savedTemplate{row}, maxTemplates)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return errTemplateLimit
		}
		return err
	})
	return stored, err
}

func (s *Templates) deleteTemplate(ctx context.Context, caisse string, id uuid.UUID) error {
	_, err := postgres.Exec(ctx, s.DB, "deleting a template", `DELETE FROM template WHERE caisse = $1 AND id = $2`, caisse, id)
	return err
}
