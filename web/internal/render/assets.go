package render

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// Assets are the files that pages load. Their addresses hold a digest of their
// content, so browsers keep them for good; they are compressed once, at start.
type Assets struct {
	urls  map[string]string
	files map[string]asset
}

type asset struct {
	kind          string
	plain, zipped []byte
}

// NewAssets reads the built-in files, and a theme's style sheet if there is one.
func NewAssets(themePath string) (*Assets, error) {
	a := &Assets{urls: make(map[string]string), files: make(map[string]asset)}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return nil, fmt.Errorf("listing assets: %w", err)
	}
	for _, entry := range entries {
		content, err := fs.ReadFile(staticFiles, "static/"+entry.Name())
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", entry.Name(), err)
		}
		if err := a.add(entry.Name(), content); err != nil {
			return nil, err
		}
	}
	if themePath == "" {
		return a, nil
	}
	theme, err := os.ReadFile(themePath)
	if err != nil {
		return nil, fmt.Errorf("reading the theme: %w", err)
	}
	return a, a.add("theme.css", theme)
}

func (a *Assets) add(name string, content []byte) error {
	var zipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("compressing %s: %w", name, err)
	}
	if _, err := w.Write(content); err != nil {
		return fmt.Errorf("compressing %s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("compressing %s: %w", name, err)
	}
	digest := sha256.Sum256(content)
	place := "/static/" + hex.EncodeToString(digest[:6]) + "/" + name
	a.urls[name] = place
	a.files[place] = asset{mime.TypeByExtension(path.Ext(name)), content, zipped.Bytes()}
	return nil
}

// url is where a page finds an asset; empty when there is none of that name.
func (a *Assets) url(name string) string { return a.urls[name] }

// ServeHTTP implements http.Handler.
func (a *Assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, ok := a.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", file.kind)
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	header.Set("Vary", "Accept-Encoding")
	content := file.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		header.Set("Content-Encoding", "gzip")
		content = file.zipped
	}
	header.Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content)
}
