package console

import (
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/found"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// reclassifyPage finds by words the reason that a conversation is to be under.
type reclassifyPage struct {
	*messagingpb.Conversation
	found.Reasons
	// Back is the conversation's page, List the list from which that was opened.
	Back, List string
}

// Labels are the levels of its selection as it is.
func (p *reclassifyPage) Labels() []string { return desk.Labels(p.Conversation) }

// reclassify leads from a conversation's page to the one that finds a reason, and what was typed
// there is its draft first. From that page it leads to what is found; its script has it at once.
func (v *visitor) reclassify() error {
	id, typed := v.R.PathValue("id"), desk.TypedOf("", v.R.PostForm)
	at := "/agent/conversations/" + url.PathEscape(id) + "/motifs"
	form := url.Values{"retour": {typed.Back}}
	words := strings.TrimSpace(v.R.PostFormValue("q"))
	switch {
	case v.R.PostForm.Has("cle"):
		if err := v.leave(id, typed); err != nil {
			return v.left(id, typed, err)
		}
	case !v.Navigates():
		return v.showReasons(words, typed.Back)
	case words == "":
		return v.showReasons("", typed.Back, found.Missing(v.Pages))
	default:
		form.Set("q", found.First(words))
	}
	to, err := v.Hidden(at, form)
	if err != nil {
		return err
	}
	return v.Redirect(to)
}

func (v *visitor) showReclassify() error {
	form, _ := v.Revealed() // without, nothing is looked for yet
	return v.showReasons(form.Get("q"), desk.BackOf(form.Get("retour")))
}

// showReasons shows what is found by words, if there are any. Whatever fails, they are in their
// field.
func (v *visitor) showReasons(words, list string, faults ...render.Fault) error {
	id, code := v.R.PathValue("id"), http.StatusOK
	if faults != nil {
		code = http.StatusUnprocessableEntity
	}
	page := &reclassifyPage{Conversation: &messagingpb.Conversation{Id: id}, Reasons: found.Reasons{Words: words}, Back: desk.Path(id, list), List: list}
	c, err := v.conversation(id)
	if err == nil {
		page.Conversation = c
		if words != "" {
			page.Reasons, err = found.By(v.Ctx, v.taxonomy, v.Pages, c.GetAudience(), words)
		}
	}
	switch {
	case err != nil && (words == "" || status.Code(err) == codes.Unauthenticated):
		return err
	case err != nil:
		problem := v.ProblemOf(err)
		v.Noted(problem, err)
		page.Words, code, faults = words, problem.Code, []render.Fault{v.AtField("q", problem, err)}
	}
	return v.Show(code, "reclassify", page, faults...)
}
