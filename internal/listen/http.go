package listen

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gobwas/ws"
)

// takeHTTP serves the request for a WebSocket, and answers what any other one
// gets wrong.
func (g *greeter) takeHTTP(b []byte) int {
	method, _, _ := bytes.Cut(b, []byte(" "))
	switch {
	case g.upgraded:
		g.refuse(nil, ReasonNotMQTT, "an HTTP request came inside WebSocket: this listener speaks "+g.listener.speaks())
	case g.listener.secureOnly() && g.peer.TLS == nil:
		g.refuseHTTP(http.StatusBadRequest, ReasonPlainOnTLSPort, "plain HTTP came to a TLS listener: use wss:// in place of ws://")
	case string(method) != http.MethodGet:
		g.refuseHTTP(http.StatusMethodNotAllowed, ReasonHTTPRequest, fmt.Sprintf("an HTTP request (%s) came: this listener speaks %s", method, g.listener.speaks()))
	default:
		return g.takeGET(b)
	}
	return len(b)
}

// takeGET waits for the whole request.
func (g *greeter) takeGET(b []byte) int {
	limit := g.listener.options.MaxUpgrade
	end := bytes.Index(b[:min(len(b), limit)], []byte("\r\n\r\n"))
	if end < 0 && len(b) >= limit {
		g.refuseHTTP(http.StatusRequestHeaderFieldsTooLarge, ReasonHTTPRequest, fmt.Sprintf("an HTTP request above %d bytes came: this listener speaks %s", limit, g.listener.speaks()))
		return len(b)
	}
	if end < 0 {
		return 0
	}
	head := b[:end+4]
	path, upgrade := requested(head)
	switch {
	case !g.listener.serves(path):
		g.refuseHTTP(http.StatusNotFound, ReasonHTTPRequest, fmt.Sprintf("an HTTP request for %.80q came, which is not here: this listener speaks %s", path, g.listener.speaks()))
	case !upgrade:
		g.refuseHTTP(http.StatusUpgradeRequired, ReasonHTTPRequest, "an HTTP request came that is no WebSocket upgrade: this listener speaks "+g.listener.speaks())
	case g.upgrade(head):
		return len(head) // what is behind is for the new handler
	}
	return len(b)
}

// requested is the path of a request, and whether it asks for a WebSocket.
func requested(head []byte) (path string, upgrade bool) {
	line, fields, _ := strings.Cut(string(head), "\r\n")
	_, target, _ := strings.Cut(line, " ")
	target, _, _ = strings.Cut(target, " ")
	path, _, _ = strings.Cut(target, "?")
	for field := range strings.SplitSeq(fields, "\r\n") {
		name, value, _ := strings.Cut(field, ":")
		if strings.EqualFold(name, "Upgrade") && strings.EqualFold(strings.TrimSpace(value), "websocket") {
			return path, true
		}
	}
	return path, false
}

// request is what the upgrader reads from and writes to.
type request struct {
	io.Reader
	io.Writer
}

// upgrade answers a request for a WebSocket, and puts its layer in place.
func (g *greeter) upgrade(head []byte) bool {
	var answer bytes.Buffer
	offered := false
	u := ws.Upgrader{
		ReadBufferSize: g.listener.options.MaxUpgrade,
		ProtocolCustom: func(list []byte) (string, bool) {
			offered = true
			return subprotocol(string(list)), true
		},
		OnHeader: func(key, value []byte) error {
			if string(key) == "Origin" {
				g.peer.Origin = string(value)
			}
			return nil
		},
	}
	hs, err := u.Upgrade(request{bytes.NewReader(head), &answer})
	switch {
	case err != nil && answer.Len() == 0:
		g.refuseHTTP(http.StatusBadRequest, ReasonWebSocketUpgrade, upgradeDetail(err))
		return false
	case err != nil:
		g.refuse(answer.Bytes(), ReasonWebSocketUpgrade, upgradeDetail(err))
		return false
	case offered && hs.Protocol == "":
		g.refuseHTTP(http.StatusBadRequest, ReasonWebSocketUpgrade, "the WebSocket client offers other subprotocols than mqtt: let it offer mqtt [MQTT-6.0.0-3]")
		return false
	}
	lower := g.conn
	lower.Write(answer.Bytes())
	w := &webSocket{lower: lower, buffers: g.listener.buffers}
	w.handler = g
	g.conn, g.upgraded = w, true
	g.peer.Transport = TransportWS
	if g.peer.TLS != nil {
		g.peer.Transport = TransportWSS
	}
	lower.SetHandler(w)
	return true
}

// subprotocol chooses from a client's offer: mqtt [MQTT-6.0.0-4], or the name
// that clients of MQTT 3.1 offer alone.
func subprotocol(list string) (chosen string) {
	for offer := range strings.SplitSeq(list, ",") {
		switch offer = strings.TrimSpace(offer); offer {
		case "mqtt":
			return offer
		case "mqttv3.1":
			chosen = cmp.Or(chosen, offer)
		}
	}
	return chosen
}

func upgradeDetail(err error) string {
	return fmt.Sprintf("the WebSocket upgrade failed (%v): update the client, or look at the proxy before it", err)
}

// refuseHTTP refuses with one line for whoever reads it, in a browser perhaps.
func (g *greeter) refuseHTTP(status int, reason, detail string) {
	extra := ""
	switch status {
	case http.StatusUpgradeRequired:
		extra = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
	case http.StatusMethodNotAllowed:
		extra = "Allow: GET\r\n"
	}
	body := detail + "\n"
	answer := fmt.Sprintf("HTTP/1.1 %d %s\r\n%sConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), extra, len(body), body)
	g.refuse([]byte(answer), reason, detail)
}
