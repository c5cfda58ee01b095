package console

import (
	"net/http"
	"net/url"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// findPage is what an agent looks for, and what there is. What is looked for may be personal: it
// is posted, and sealed in the page's address, and in no title, cookie or log.
type findPage struct {
	desk.Search
	Asked         bool
	Conversations []*messagingpb.Conversation
	// Next is a token of the gateway's; empty on the last page.
	Next string
	// Back is where the page was opened from, Here its own address, where its conversations lead
	// back to.
	Back, Here string
}

// find leads to what is found, so that one comes back to it.
func (v *visitor) find() error {
	form := url.Values{}
	for _, name := range []string{"q", "conversation", "sens", "suite", "retour"} {
		form.Set(name, v.R.PostFormValue(name))
	}
	return v.findBy(form)
}

// findOthers looks for the other conversations of the member of one, from its page.
func (v *visitor) findOthers() error {
	return v.findFrom(url.Values{"conversation": {v.R.PathValue("id")}})
}

// findQuoted looks for what is quoted in the head of a conversation's page.
func (v *visitor) findQuoted() error {
	return v.findFrom(url.Values{"q": {v.R.PostFormValue("q")}})
}

// findFrom looks for something else on a conversation's page, and leads back to it. What was
// typed there is its draft first: where it cannot be, it is shown, and nothing is looked for.
func (v *visitor) findFrom(form url.Values) error {
	id, typed := v.R.PathValue("id"), desk.TypedOf("", v.R.PostForm)
	if err := v.leave(id, typed); err != nil {
		return v.left(id, typed, err)
	}
	form.Set("retour", desk.Path(id, typed.Back))
	return v.findBy(form)
}

func (v *visitor) findBy(form url.Values) error {
	page := findPage{Search: desk.SearchOf(form), Back: desk.BackOf(form.Get("retour"))}
	if page.Empty() {
		return v.Show(http.StatusUnprocessableEntity, "find", page,
			render.Fault{Field: "q", Text: v.Tr("Écrivez une référence ou un numéro d’adhérent.", "Enter a reference or a member number.")})
	}
	to, err := v.Hidden(desk.Find, form)
	if err != nil {
		return err
	}
	return v.Redirect(to)
}

func (v *visitor) showFind() error {
	form, ok := v.Revealed()
	page := findPage{Search: desk.SearchOf(form), Back: desk.BackOf(form.Get("retour")), Here: v.R.URL.RequestURI()}
	if !ok {
		return v.Show(http.StatusOK, "find", page)
	}
	resp, err := v.agents.FindConversations(v.Ctx, page.Request())
	switch code := status.Code(err); {
	case code == codes.Unauthenticated:
		return err
	case err != nil:
		// What was typed stays in its field.
		problem := v.ProblemOf(err)
		faults := v.FaultsOf(err)
		for i := range faults {
			faults[i].Field = "q"
		}
		if faults != nil {
			problem.Code = http.StatusUnprocessableEntity
		} else {
			faults = []render.Fault{v.AtField("q", problem, err)}
		}
		v.Noted(problem, err)
		return v.Show(problem.Code, "find", page, faults...)
	}
	page.Asked, page.Conversations, page.Next = true, resp.GetConversations(), resp.GetNextPageToken()
	return v.Show(http.StatusOK, "find", page)
}
