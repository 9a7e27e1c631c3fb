package command

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"shoal/server/config"
)

// newLogger builds the one logger of the process. Call the second result when it is no longer used.
func newLogger(cfg config.Log, w io.Writer) (*slog.Logger, func(), error) {
	end := func() {}
	if cfg.Level == "none" {
		return slog.New(slog.DiscardHandler), end, nil
	}
	if cfg.File != "" {
		f, err := os.OpenFile(cfg.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, nil, fmt.Errorf("log.file = %q: %w; name a file that can be written, or leave it empty", cfg.File, err)
		}
		w, end = f, func() { f.Close() }
	}
	options := &slog.HandlerOptions{Level: level(cfg.Level)}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), end, nil
	}
	return slog.New(slog.NewTextHandler(w, options)), end, nil
}

// level is slog's level for a configured name; info for one that config.Validate refuses.
func level(name string) slog.Level {
	switch name {
	case "trace":
		return slog.LevelDebug - 4
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	case "fatal": // nothing is logged at it
		return slog.LevelError + 4
	default:
		return slog.LevelInfo
	}
}
