package recovery

import (
	"shoal/server/channel"
)

// Stream says whether pubs, in order, are all that was published after since, up to top.
func Stream(since channel.Position, pubs []channel.Publication, top channel.Position) bool {
	if since.Epoch != "" && since.Epoch != top.Epoch {
		return false
	}
	if len(pubs) == 0 {
		return top.Offset == since.Offset
	}
	return pubs[0].Offset == since.Offset+1 && pubs[len(pubs)-1].Offset == top.Offset
}

// Latest says whether a client at since, with the first of pubs, newest first, has the
// latest of the stream, and whether that is news.
func Latest(since channel.Position, pubs []channel.Publication, top channel.Position) (recovered, news bool) {
	has := since.Offset > 0 && since.Offset == top.Offset && since.Epoch == top.Epoch
	if len(pubs) == 0 || pubs[0].Offset != top.Offset {
		return len(pubs) == 0 && has, false
	}
	return true, !has
}

// Page is what of pubs fits into an answer of so many bytes: at least the first, so that
// who goes on behind the last one gets on.
func Page(pubs []channel.Publication, bytesMax int) []channel.Publication {
	bytes := 0
	for i := range pubs {
		if bytes += Bytes(pubs[i : i+1]); bytes > bytesMax && i > 0 {
			return pubs[:i]
		}
	}
	return pubs
}

// Bytes is about what publications take in an answer.
func Bytes(pubs []channel.Publication) (bytes int) {
	for i := range pubs {
		p := &pubs[i]
		bytes += len(p.Data)
		if p.Info != nil {
			bytes += len(p.Info.User) + len(p.Info.Client) + len(p.Info.ConnInfo) + len(p.Info.ChanInfo)
		}
		for k, v := range p.Tags {
			bytes += len(k) + len(v)
		}
	}
	return bytes
}
