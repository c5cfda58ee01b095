package web

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
)

func (v *visit) showPersonalData() error { return v.show(http.StatusOK, "personal", nil) }

// exportMyData gives all that is stored about the member as one JSON file.
func (v *visit) exportMyData() error {
	stream, err := v.members.ExportMyData(v.ctx, &messagingpb.ExportMyDataRequest{})
	if err != nil {
		return err
	}
	// The first piece reports whether there will be any.
	piece, err := stream.Recv()
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	v.w.Header().Set("Content-Disposition", `attachment; filename="mes-donnees.json"`)
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
		_ = http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(bound.WriteTimeout))
		if _, err := v.w.Write([]byte(before + string(out))); err != nil {
			return nil //nolint:nilerr // the reader has gone away
		}
		before = ",\n"
	}
	if !errors.Is(err, io.EOF) {
		// Half a file must not look like a whole one.
		panic(http.ErrAbortHandler)
	}
	_, _ = v.w.Write([]byte("\n]\n"))
	return nil
}

func (v *visit) eraseMyData() error {
	if v.r.PostFormValue("confirmer") != "oui" {
		return v.show(http.StatusUnprocessableEntity, "personal", nil,
			fault{Field: "confirmer", Text: v.tr("Cochez la case pour confirmer l’effacement.", "Tick the box to confirm the erasure.")})
	}
	resp, err := v.members.EraseMyData(v.ctx, &messagingpb.EraseMyDataRequest{Confirm: true})
	if err != nil {
		return err
	}
	v.flash(v.pages.Counted(int(resp.GetConversations()), "%d conversation effacée, ainsi que vos brouillons et vos coordonnées.", "%d conversations effacées, ainsi que vos brouillons et vos coordonnées.",
		"Erased: %d conversation, your drafts and your contact details.", "Erased: %d conversations, your drafts and your contact details."))
	return v.redirect("/donnees-personnelles")
}
