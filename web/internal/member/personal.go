package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/bound"
	"github.com/ma-messagerie/messagerie/web/internal/inquiry"
	"github.com/ma-messagerie/messagerie/web/internal/receipt"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// exportMyData gives all that is stored about the member as one JSON file.
func (v *visitor) exportMyData() error {
	stream, err := v.members.ExportMyData(v.Ctx, &messagingpb.ExportMyDataRequest{})
	if err != nil {
		return err
	}
	// The first piece reports whether there will be any.
	piece, err := stream.Recv()
	if err != nil {
		return err
	}
	v.W.Header().Set("Content-Type", "application/json; charset=utf-8")
	v.W.Header().Set("Content-Disposition", `attachment; filename="mes-donnees.json"`)
	before := "[\n"
	for ; err == nil; piece, err = stream.Recv() {
		line, encodeErr := protojson.Marshal(piece)
		if encodeErr != nil {
			return fmt.Errorf("encoding an export: %w", encodeErr)
		}
		// protojson varies its white space on purpose.
		var tidy json.RawMessage = line
		out, encodeErr := json.Marshal(tidy)
		if encodeErr != nil {
			return fmt.Errorf("encoding an export: %w", encodeErr)
		}
		// Each piece has its time, however many there are.
		_ = http.NewResponseController(v.W).SetWriteDeadline(time.Now().Add(bound.WriteTimeout))
		if _, err := v.W.Write([]byte(before + string(out))); err != nil {
			return nil //nolint:nilerr // the reader has gone away
		}
		before = ",\n"
	}
	if !errors.Is(err, io.EOF) {
		// Half a file must not look like a whole one.
		panic(http.ErrAbortHandler)
	}
	_, _ = v.W.Write([]byte("\n]\n"))
	return nil
}

func (v *visitor) eraseMyData() error {
	if v.R.PostFormValue("confirmer") != "oui" {
		return v.Show(http.StatusUnprocessableEntity, "personal", nil,
			render.Fault{Field: "confirmer", Text: v.Tr("Cochez la case pour confirmer l’effacement.", "Tick the box to confirm the erasure.")})
	}
	resp, err := v.members.EraseMyData(v.Ctx, &messagingpb.EraseMyDataRequest{Confirm: true})
	if err != nil {
		return err
	}
	inquiry.Drop(v.W)
	session.SetCookie(v.W, receipt.Cookie, "", -1) // what it promises is not to come any more
	v.Flash(v.Pages.Counted(int(resp.GetConversations()), "%d conversation effacée, ainsi que vos brouillons et vos coordonnées.", "%d conversations effacées, ainsi que vos brouillons et vos coordonnées.",
		"Erased: %d conversation, your drafts and your contact details.", "Erased: %d conversations, your drafts and your contact details."))
	return v.Redirect("/donnees-personnelles")
}
