package route

// Handle names a subscriber in the broker's table of clients.
type Handle uint32

// Group names the group of a shared subscription while it has members; no
// other group gets its number afterwards. 0 is no group.
type Group uint32

// Options are what a subscriber asked for besides the filter.
type Options struct {
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	Local             bool   // set for $local/ filters, whatever the caller says
	ID                uint32 // subscription identifier, 0 for none
}

// Row is one subscription that matched.
type Row struct {
	To Handle
	Options
	Group Group
}

// key is what makes a row of a filter the same subscription: one client may
// hold a/b, $local/a/b and any number of $share/…/a/b at once.
func (r *Row) key() rowKey { return rowKey{r.To, r.Group, r.Local} }

type rowKey struct {
	to    Handle
	group Group
	local bool
}

// cell is the set of rows of one filter in 8 bytes: none, the only row, or
// the number of a list. bits is 0 for none and listBits for a list; else it
// holds QoS+1 in two bits, two flags and the subscription identifier, which
// the protocol keeps below 2^28.
type cell struct{ to, bits uint32 }

const (
	listBits  = 1 << 2 // no row looks like it: its QoS+1 would be 0
	noLocal   = 1 << 2
	asPublish = 1 << 3
	idShift   = 4
)

func (c cell) empty() bool { return c.bits == 0 }

func (c cell) isList() bool { return c.bits == listBits }

// pack puts a row into a cell if it is of the usual sort.
func pack(r Row) (cell, bool) {
	if r.Group != 0 || r.Local || r.QoS > 2 || r.ID >= 1<<(32-idShift) {
		return cell{}, false
	}
	bits := uint32(r.QoS+1) | r.ID<<idShift
	if r.NoLocal {
		bits |= noLocal
	}
	if r.RetainAsPublished {
		bits |= asPublish
	}
	return cell{uint32(r.To), bits}, true
}

// row is the only row of a cell that is neither empty nor a list.
func (c cell) row() Row {
	return Row{To: Handle(c.to), Options: Options{
		QoS:               byte(c.bits&3) - 1,
		NoLocal:           c.bits&noLocal != 0,
		RetainAsPublished: c.bits&asPublish != 0,
		ID:                c.bits >> idShift,
	}}
}
