package main

import (
	"image/color"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	thick  = vg.Length(6)  // a bar
	apart  = vg.Length(6)  // between two scenarios
	lift   = vg.Length(1)  // of figures, which have nothing below their line
	beside = vg.Length(82) // title, legend, axis and source
)

// bars are those of one broker, a row for each scenario. The axis is
// logarithmic, so they begin where it does, and the figure stands at their end.
type bars struct {
	values []float64 // from the lowest row up; 0: no bar
	above  vg.Length // the middle of the row
	color  color.Color
	label  text.Style
}

func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	for i, v := range b.values {
		if v == 0 {
			continue
		}
		y, end := toY(float64(i))+b.above, toX(v)
		fill(&c, b.color, vg.Rectangle{Min: vg.Point{X: c.Min.X, Y: y - thick/2}, Max: vg.Point{X: end, Y: y + thick/2}})
		c.FillText(b.label, vg.Point{X: end + 3, Y: y + lift}, figure(v))
	}
}

func figure(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// drawTraffic shows the overview: CPU seconds per million deliveries of each
// broker in each scenario.
func drawTraffic(r *results) ([]byte, error) {
	t := r.table(overview)
	p := sheet("")
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = nil, pale()
	p.Add(grid)
	brokers := t.brokers()
	row := thick*vg.Length(len(brokers)) + apart
	least, most := 0.0, 0.0
	for i, name := range brokers {
		values, err := t.column(name)
		if err != nil {
			return nil, err
		}
		slices.Reverse(values)
		for _, v := range values {
			if v > 0 && (least == 0 || v < least) {
				least = v
			}
			most = max(most, v)
		}
		above := thick * (vg.Length(len(brokers)-1)/2 - vg.Length(i))
		p.Add(bars{values, above, colourOf(name, i), words(6.5, text.XLeft, text.YCenter)})
	}
	names := make([]string, len(t.rows))
	for i, cells := range t.rows {
		names[len(names)-1-i] = cells[0]
	}
	p.NominalY(names...)
	p.Y.Tick.Label.Font = sans(8.5)
	p.Y.Min, p.Y.Max = -0.5, float64(len(names))-0.5
	p.Y.Width, p.Y.Padding = 0, 0
	logarithmic(&p.X, 1)
	p.X.Min, p.X.Max = least/1.6, most*1.5
	s := newPage(630, row*vg.Length(len(names))+beside)
	s.write("CPU seconds that a broker spends on a million messages delivered: less is better", brokers, "Logarithmic scale. "+r.source())
	p.Draw(s.rest)
	return s.svg()
}
