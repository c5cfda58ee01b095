package web

import (
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
)

// findPage is what an agent looks for, and what there is. It answers a POST: what is looked
// for may be personal, and is in no address, title, cookie or log.
type findPage struct {
	console
	desk.Search
	Asked         bool
	Conversations []*messagingpb.Conversation
	// Next is a token of the gateway's; empty on the last page.
	Next string
	// Back is where the page was opened from, and where its conversations lead back to.
	Back string
}

func (v *visit) showFind() error {
	return v.show(http.StatusOK, "find", findPage{console: v.console(), Back: desk.Queue})
}

func (v *visit) find() error {
	page := findPage{console: v.console(), Search: desk.SearchOf(v.r.PostForm), Back: desk.BackOf(v.r.PostFormValue("retour"))}
	if page.Empty() {
		return v.show(http.StatusUnprocessableEntity, "find", page,
			fault{Field: "q", Text: v.tr("Écrivez une référence ou un numéro d’adhérent.", "Enter a reference or a member number.")})
	}
	resp, err := v.agents.FindConversations(v.ctx, page.Request())
	switch code := status.Code(err); {
	case code == codes.Unauthenticated:
		return err
	case err != nil:
		// What was typed stays in its field.
		problem := v.problemOf(err)
		faults := v.faultsOf(err)
		for i := range faults {
			faults[i].Field = "q"
		}
		if faults != nil {
			problem.Code = http.StatusUnprocessableEntity
		} else {
			faults = []fault{v.atField("q", problem, err)}
		}
		v.noted(problem, err)
		return v.show(problem.Code, "find", page, faults...)
	}
	page.Asked, page.Conversations, page.Next = true, resp.GetConversations(), resp.GetNextPageToken()
	return v.show(http.StatusOK, "find", page)
}
