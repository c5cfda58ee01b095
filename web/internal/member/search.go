package member

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/found"
	"github.com/ma-messagerie/messagerie/web/internal/inquiry"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// searchAt is the address of the search by words, which are posted and in no address, title or log.
const searchAt = "/messagerie/recherche"

// search leads to what is found; a page's script, which asks while one types, gets it at once.
func (v *visitor) search() error {
	if v.R.PostForm.Has("choix") {
		return v.chooseFound()
	}
	words := strings.TrimSpace(v.R.PostFormValue("q"))
	if words == "" {
		v.At = newAt // where the field is too
		return v.Show(http.StatusUnprocessableEntity, "search", found.Reasons{}, found.Missing(v.Pages))
	}
	if !v.Navigates() {
		v.ask(words, false)
		return v.showFoundFor(words)
	}
	v.ask(words, true)
	to, err := v.Hidden(searchAt, url.Values{"q": {found.First(words)}})
	if err != nil {
		return err
	}
	return v.Redirect(to)
}

func (v *visitor) showFound() error {
	form, ok := v.Revealed()
	if !ok {
		return v.Redirect(newAt)
	}
	return v.showFoundFor(form.Get("q"))
}

func (v *visitor) showFoundFor(words string) error {
	page, err := found.By(v.Ctx, v.taxonomy, v.Pages, v.Session.Audience, words)
	switch {
	case status.Code(err) == codes.Unauthenticated:
		return err
	case err != nil: // the words stay in their field
		problem := v.ProblemOf(err)
		v.Noted(problem, err)
		return v.Show(problem.Code, "search", found.Reasons{Words: words}, v.AtField("q", problem, err))
	}
	return v.Show(http.StatusOK, "search", page)
}

// useFound leads to an online service that was found by words.
func (v *visitor) useFound() error {
	under, ok := inquiry.Under(v.Seal, v.R, v.Session)
	if !ok {
		return v.Redirect(newAt)
	}
	page, err := found.By(v.Ctx, v.taxonomy, v.Pages, v.Session.Audience, under.Words)
	if err != nil {
		return err
	}
	for _, service := range page.Services {
		if service.GetCode() == v.R.PathValue("service") {
			v.endSearch(true)
			return v.Redirect(service.GetUrl())
		}
	}
	return refusal.ErrNoPage
}

// ask begins a search, and ends the one before unless that is only typed further.
func (v *visitor) ask(words string, sent bool) {
	next := inquiry.New(v.Session, words, sent)
	if before, ok := inquiry.Under(v.Seal, v.R, v.Session); ok {
		if before.Goes(next) {
			next.Key, next.Sent = before.Key, sent || before.Sent
		} else {
			v.countSearch(&before, false)
		}
	}
	_ = next.Keep(v.Seal, v.W) // what is not kept is not counted
}

// endSearch counts the search that is under way, if there is one.
func (v *visitor) endSearch(chosen bool) {
	if !v.Navigates() {
		return
	}
	if under, ok := inquiry.Under(v.Seal, v.R, v.Session); ok {
		inquiry.Drop(v.W)
		v.countSearch(&under, chosen)
	}
}

// countSearch is for a figure: a member is not kept from going on.
func (v *visitor) countSearch(i *inquiry.Inquiry, chosen bool) {
	if !chosen && !i.Meant() {
		return
	}
	_, _ = v.taxonomy.RecordSearch(metadata.AppendToOutgoingContext(v.Ctx, "idempotency-key", i.Key), &taxonomypb.RecordSearchRequest{
		Audience: i.Audience, Q: found.First(i.Words), Chosen: chosen,
	})
}

// chooseFound begins a message with a selection that was found by words.
func (v *visitor) chooseFound() error {
	tree, err := v.tree()
	if err != nil {
		return err
	}
	theme, topic, reason, ok := found.Choice(v.R.PostFormValue("choix"))
	if !ok {
		return refusal.ErrNoPage
	}
	d := writing.New(&messagingpb.Draft{Id: uuid.NewString(), Theme: theme, Topic: topic, Reason: reason}, tree)
	if d.GetTheme() == "" {
		return refusal.ErrNoPage
	}
	if err := v.save(d); err != nil {
		return err
	}
	v.endSearch(true)
	if missing := d.Missing(writing.Text); missing != "" {
		return v.Redirect(d.Path(missing))
	}
	return v.propose(d, writing.Text)
}
