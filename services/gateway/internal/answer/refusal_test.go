package answer

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A refusal in place of an answer that was prepared has none of what described that.
func TestRefuse_InPlaceOfAnAnswer(t *testing.T) {
	t.Parallel()
	recorder, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
	w := New(recorder, r)
	w.Header().Set("ETag", `"a"`)
	w.Header().Set("Cache-Control", "public, max-age=60")
	Refuse(w, r, errors.New("broken"))
	header := recorder.Header()
	if w.Status != http.StatusInternalServerError || header.Get("ETag") != "" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Status, header)
	}
}
