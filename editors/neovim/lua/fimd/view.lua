--- Draws a suggestion as ghost text: inline virtual text at the cursor, virtual lines below.

local text = require('fimd.text')

local M = {}

M.namespace = vim.api.nvim_create_namespace('fimd')

---@param group string
---@param target string
local function default_link(group, target)
  vim.api.nvim_set_hl(0, group, { link = target, default = true })
end

function M.set_highlights()
  local known = vim.fn.hlexists('ComplHint') == 1
  default_link('FimdGhost', known and 'ComplHint' or 'Comment')
  default_link('FimdCount', vim.fn.hlexists('ComplHintMore') == 1 and 'ComplHintMore' or 'NonText')
end

---@param buf integer
function M.clear(buf)
  if vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, M.namespace, 0, -1)
  end
end

--- Replaces what is drawn. Screens are only redrawn afterwards, so nothing flickers.
---@param buf integer
---@param place fimd.Place
---@param count? string such as "(2/3)"
function M.draw(buf, place, count)
  M.clear(buf)
  local tabstop = vim.bo[buf].tabstop
  local lines = vim.split(place.remaining, '\n', { plain = true })
  local column = vim.fn.strdisplaywidth(vim.api.nvim_get_current_line():sub(1, place.col))

  local virt_lines = {}
  for i = 2, #lines do
    virt_lines[#virt_lines + 1] = { { text.expand_tabs(lines[i], 0, tabstop), 'FimdGhost' } }
  end
  if count then
    local last = virt_lines[#virt_lines]
    if last then
      last[#last + 1] = { ' ' .. count, 'FimdCount' }
    end
  end

  local function mark(col, line, options)
    options.virt_text = { { text.expand_tabs(line, column, tabstop), 'FimdGhost' } }
    options.hl_mode = 'combine'
    if count and #virt_lines == 0 and not options.more then
      table.insert(options.virt_text, { ' ' .. count, 'FimdCount' })
    end
    options.more = nil
    vim.api.nvim_buf_set_extmark(buf, M.namespace, place.row, col, options)
  end

  local below = #virt_lines > 0 and virt_lines or nil
  local pieces = text.pieces(lines[1], place.tail)
  if not pieces then
    mark(place.col, lines[1], { virt_text_pos = 'overlay', virt_lines = below })
    return
  end
  for i, piece in ipairs(pieces) do
    mark(place.col + piece.offset, piece.text, { virt_text_pos = 'inline', more = i < #pieces })
  end
  if below then
    vim.api.nvim_buf_set_extmark(buf, M.namespace, place.row, place.col, { virt_lines = below })
  end
end

return M
